package hosting

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// maxTags is how many tags a resource may have (spec §2.4; edge spec §1.5).
const maxTags = 50

// CheckTags refuses tags that cannot be added to those a resource has: a key
// given twice, a reserved key, or too many in all (spec §2.4).
func CheckTags(have, add []Tag) error {
	keys := make(map[string]bool, len(have)+len(add))
	for _, t := range have {
		keys[t.Key] = true
	}
	given := make(map[string]bool, len(add))
	for _, t := range add {
		if given[t.Key] {
			return fault.New(fault.Invalid,
				"Duplicate tag keys found. Please note that Tag keys are case sensitive: %q.", t.Key)
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return fault.New(fault.Invalid, "Tag keys that start with aws: are reserved: %q.", t.Key)
		}
		given[t.Key], keys[t.Key] = true, true
	}
	if len(keys) > maxTags {
		return fault.New(fault.Invalid, "A resource can have at most %d tags.", maxTags)
	}
	return nil
}

// Gates reads the gates that the tags of an EndpointConfig set over a server's
// own words, by kind. Errors are fault.Invalid.
func Gates(tags []Tag, server map[string]string) ([]gate.Gate, error) {
	by := make(map[string]string, len(tags))
	for _, t := range tags {
		by[t.Key] = t.Value
	}
	return gate.Read(by, server)
}
