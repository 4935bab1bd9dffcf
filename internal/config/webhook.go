package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/notice"
)

// Webhook receives what happens to endpoints, in the words of EventBridge.
type Webhook struct {
	// Name is what the webhook is called in logs and metrics. Its queue has this
	// name: the URL may change, and what is still to be delivered stays.
	Name string `json:"name"`
	// URL is where events are posted, http or https.
	URL Secret `json:"url"`
	// Secret is what deliveries are signed with, at least 16 characters; what
	// begins with whsec_ is base64, as Standard Webhooks has it.
	Secret Secret `json:"secret"`
	// Events are the detail-types to deliver; without any, all are.
	Events []string `json:"events,omitempty"`
}

// LogValue shows the webhook's name alone.
func (w Webhook) LogValue() slog.Value { return slog.StringValue(w.Name) }

// Secret is a text that is not for logs. It is written to configuration files
// as it is.
type Secret string

// String hides the text from fmt.
func (Secret) String() string { return "(secret)" }

// GoString hides the text from %#v.
func (Secret) GoString() string { return "(secret)" }

// LogValue hides the text from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// maxWebhooks bounds what one transition writes.
const maxWebhooks = 20

var webhookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// webhookFaults reports what is wrong with the webhooks, without their secrets.
func webhookFaults(ws []Webhook) (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(ws) > maxWebhooks {
		bad("webhooks: there are %d, more than %d", len(ws), maxWebhooks)
	}
	seen := map[string]bool{}
	for i, w := range ws {
		key := fmt.Sprintf("webhooks[%d]", i)
		switch {
		case !webhookName.MatchString(w.Name):
			bad("%s.name: %q is not lower-case letters, digits and hyphens", key, w.Name)
		case seen[w.Name]:
			bad("%s.name: %q is the name of another webhook", key, w.Name)
		}
		seen[w.Name] = true
		if err := checkWebhookURL(string(w.URL)); err != nil {
			bad("%s.url: %w", key, err)
		}
		if len(w.Secret) < 16 {
			bad("%s.secret: must have at least 16 characters", key)
		}
		if text, ok := strings.CutPrefix(string(w.Secret), "whsec_"); ok {
			if _, err := base64.StdEncoding.DecodeString(text); err != nil {
				bad("%s.secret: what follows whsec_ is not base64", key)
			}
		}
		for _, e := range w.Events {
			if !slices.Contains(notice.Kinds(), notice.Kind(e)) {
				bad("%s.events: %q is none of %q", key, e, notice.Kinds())
			}
		}
	}
	return faults
}

func checkWebhookURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the error would print it
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must start with http:// or https://")
	case u.Host == "":
		return errors.New("names no host")
	}
	return nil
}
