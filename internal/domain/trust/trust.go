// Package trust is who a device is and what its certificate allows: things,
// certificates, the policies attached to them, and the role aliases that they
// are evaluated against, as far as the getting-started guide of SageMaker Edge
// Manager uses AWS IoT (spec §5). Of all actions only AssumeRole is evaluated.
// Making certificates, and keeping anything, is not its job.
package trust

import (
	"maps"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// The limits of what may hang together (AWS's where it has one).
const (
	MaxPolicies   = 10  // attached to one certificate
	MaxThings     = 100 // attached to one certificate
	MaxPrincipals = 100 // attached to one thing
	MaxAttributes = 50  // of one thing
)

// ThingType is a kind of thing.
type ThingType struct {
	Scope       arn.Scope `json:"-"`
	Name        string    `json:"-"`
	ID          string    `json:"ID"`
	Description string    `json:"Description"`
	Searchable  []string  `json:"Searchable"` // names of attributes
	Created     time.Time `json:"Created"`
}

// ARN returns the type's name.
func (t ThingType) ARN() string { return name(t.Scope, "thingtype/"+t.Name) }

// Same reports whether creating t again with these properties changes nothing.
func (t ThingType) Same(o ThingType) bool {
	return t.Description == o.Description && slices.Equal(t.Searchable, o.Searchable)
}

// Thing stands for a device.
type Thing struct {
	Scope      arn.Scope         `json:"-"`
	Name       string            `json:"-"`
	ID         string            `json:"ID"`
	Type       string            `json:"Type"` // name of its ThingType; may be empty
	Attributes map[string]string `json:"-"`
	Version    int64             `json:"Version"`
	Created    time.Time         `json:"Created"`
}

// ARN returns the thing's name.
func (t Thing) ARN() string { return name(t.Scope, "thing/"+t.Name) }

// Same reports whether creating t again like this changes nothing.
func (t Thing) Same(o Thing) bool { return t.Type == o.Type && maps.Equal(t.Attributes, o.Attributes) }

// ThingFilter says which things to list, by name.
type ThingFilter struct {
	Type             string // "": any
	Attribute, Value string // "": any
	Prefix           bool   // Value is only what the attribute starts with
	After            string // a name
	Limit            int
}

// Status is what a certificate is good for.
type Status string

// The states that a certificate can be in here; the API knows others.
const (
	Active   Status = "ACTIVE"
	Inactive Status = "INACTIVE"
	Revoked  Status = "REVOKED"
)

// Certificate is a device's certificate. Its private key is nowhere here.
type Certificate struct {
	Scope     arn.Scope
	ID        string // lower-case hex SHA-256 of its DER
	PEM       string
	Status    Status
	Enrolled  bool // it came of an enrollment, which the device's next one replaces
	Created   time.Time
	Modified  time.Time
	NotBefore time.Time
	NotAfter  time.Time
}

// ARN returns the certificate's name.
func (c Certificate) ARN() string { return CertificateARN(c.Scope, c.ID) }

// CertificateARN returns the name of the certificate with that ID.
func CertificateARN(s arn.Scope, id string) string { return name(s, "cert/"+id) }

// CertificateID returns the ID in a certificate's ARN, if it is one of scope s.
func CertificateID(s arn.Scope, principal string) (string, bool) {
	prefix := CertificateARN(s, "")
	if len(principal) != len(prefix)+64 || principal[:len(prefix)] != prefix {
		return "", false
	}
	return principal[len(prefix):], true
}

// Policy is a document under a name. It does not change: there is one version.
type Policy struct {
	Scope    arn.Scope `json:"-"`
	Name     string    `json:"-"`
	Document string    `json:"Document"`
	Created  time.Time `json:"Created"`
}

// ARN returns the policy's name.
func (p Policy) ARN() string { return name(p.Scope, "policy/"+p.Name) }

// RoleAlias is what a device asks credentials of.
type RoleAlias struct {
	Scope    arn.Scope     `json:"-"`
	Name     string        `json:"-"`
	RoleARN  string        `json:"RoleARN"`
	Duration time.Duration `json:"Duration"` // of credentials
	Fleet    bool          `json:"Fleet"`    // it belongs to a device fleet
	Created  time.Time     `json:"Created"`
	Modified time.Time     `json:"Modified"`
}

// DefaultDuration is how long credentials last unless an alias says otherwise.
const DefaultDuration = time.Hour

// ARN returns the alias's ARN.
func (a RoleAlias) ARN() string { return AliasARN(a.Scope, a.Name) }

// AliasARN returns the ARN of a role alias.
func AliasARN(s arn.Scope, alias string) string { return name(s, "rolealias/"+alias) }

// Holder is a certificate with all that decides what it is good for.
type Holder struct {
	Certificate
	Things   []string // attached, by name
	Policies []string // the attached documents
}

// Change tells of a certificate that sessions may stand on.
type Change struct {
	ID      string
	Version int64
	Active  bool // false also when it is gone
	Things  []string
}

// Authority is the key that device certificates are signed with.
type Authority struct {
	Certificate string // PEM
	Key         string // PKCS #8, PEM; never logged
	Seed        []byte // that the secrets of enrollment tokens are derived from; never logged
	Created     time.Time
}

// Enrollment is a token that was given out. Its secret is not in it.
type Enrollment struct {
	Scope         arn.Scope
	ID            string
	Fleet, Device string
	Expires       time.Time
	CSR           string // hex SHA-256 of the request that it was used for; "" if it was not
	CertificateID string // what that got
}

func name(s arn.Scope, resource string) string {
	return "arn:" + arn.Partition(s.Region) + ":iot:" + s.Region + ":" + s.Account + ":" + resource
}

// NoThing says that there is no thing of that name.
func NoThing(name string) error { return fault.New(fault.NotFound, "Thing %s cannot be found.", name) }

// NoThingType says that there is no thing type of that name.
func NoThingType(name string) error {
	return fault.New(fault.NotFound, "Thing Type %s cannot be found.", name)
}

// NoCertificate says that there is no certificate with that ID.
func NoCertificate(id string) error {
	return fault.New(fault.NotFound, "Certificate %s cannot be found.", id)
}

// NoPolicy says that there is no policy of that name.
func NoPolicy(name string) error {
	return fault.New(fault.NotFound, "Policy %s cannot be found.", name)
}

// NoAlias says that there is no role alias of that name.
func NoAlias(name string) error {
	return fault.New(fault.NotFound, "Role alias %s cannot be found.", name)
}
