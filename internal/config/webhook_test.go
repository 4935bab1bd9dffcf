package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const webhooks = `
webhooks:
- name: deploys
  url: https://hooks.example.com/T0/abc
  secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
- name: pager-1
  url: http://127.0.0.1:9/x
  secret: sixteen letters!
  events: [SageMaker Endpoint State Change]
`

func TestWebhooksAreReadAndWrittenAsTheyAre(t *testing.T) {
	c, err := Parse([]byte(webhooks))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if d := cmp.Diff(c, again); d != "" || err != nil || len(again.Webhooks) != 2 ||
		again.Webhooks[1].Secret != "sixteen letters!" {
		t.Errorf("%v %s", err, d)
	}
}

func TestEveryFaultOfAWebhookIsReported(t *testing.T) {
	_, err := Parse([]byte(`
webhooks:
- {name: Big Name, url: "ftp://h/s3cret", secret: short-s3cret}
- {name: a, url: "http:///s3cret", secret: whsec_s3cret----------}
- {name: a, url: "http://h:s3cret", secret: "long enough, this one", events: [Anything]}
`))
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, want := range []string{
		`webhooks[0].name: "Big Name"`, "webhooks[0].url: must start with", "webhooks[0].secret: must have at least 16",
		"webhooks[1].url: names no host", "webhooks[1].secret: what follows whsec_",
		`webhooks[2].name: "a" is the name of another`,
		"webhooks[2].url: is not a URL", `webhooks[2].events: "Anything"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a secret is in the fault: %v", err)
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	w := Webhook{Name: "w", URL: "http://h/s3cret", Secret: "s3cret"}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", w.Secret, "webhook", w)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "secret", w.Secret, "webhook", w)
	fmt.Fprintf(&b, "%v %+v %#v %s", w, w, w, w.Secret)
	if strings.Contains(b.String(), "s3cret") {
		t.Error(b.String())
	}
}
