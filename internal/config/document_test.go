package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryFaultOfAFileIsReportedWithItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.yaml")
	text := `listne: 127.0.0.1:1
region: us-east-1
limits:
  modelTimout: 1s
  stopGrace: 30
  maxBodyBytes: many
  drainTimeout: 0s
region: us-west-2
images:
  my/model:1.5: {comand: [x]}
  other: {command: x}
modelTimeout: 1m
log:
  level: loud
  format: [json]
devices:
  refuseNonemptyFleetDelete: maybe
webhooks:
- name: A
  url: https://x.example
  secret: sixteen characters
  event: []
colour: red
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil {
		t.Fatal("it was taken")
	}
	want := `f:1: listne: is no key of the file; did you mean listen?
f:4: limits.modelTimout: is no key of limits; did you mean limits.modelTimeout?
f:5: limits.stopGrace: 30 is not a duration like "30s"
f:6: limits.maxBodyBytes: must be a whole number
f:7: limits.drainTimeout: must be above 0
f:8: region: is given twice; the first is in line 2
f:10: images.my/model:1.5.comand: is no key of images.my/model:1.5; did you mean images.my/model:1.5.command?
f:10: images.my/model:1.5.command: must name a program
f:11: images.other.command: must be a list, each element a text; quote it if it looks like something else
f:12: modelTimeout: is no key of the file; did you mean limits.modelTimeout?
f:14: log.level: "loud" is none of debug, info, warn, error
f:15: log.format: must be a text; quote it if it looks like something else
f:17: devices.refuseNonemptyFleetDelete: must be true or false
f:19: webhooks[0].name: "A" is not lower-case letters, digits and hyphens
f:22: webhooks[0].event: is no key of webhooks[0]; did you mean webhooks[0].events?
f:23: colour: is no key of the file; there are ` + strings.Join(keysOf(reflect.TypeFor[Config]()), ", ")
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), path, "f")); diff != "" {
		t.Error(diff)
	}
}

func TestKeysThatAreWrittenAlikeAreSuggested(t *testing.T) {
	for given, want := range map[string]string{
		"datadir: x\nlisten: a:b":    `line 2: listen: "b" is not a port`, // keys in another case were always taken
		"datDir: x":                  "did you mean dataDir?",
		"data_dir: x":                "did you mean dataDir?",
		"limit: {}":                  "did you mean limits?",
		"limits: {modelTiemout: 1s}": "did you mean limits.modelTimeout?",
		"limits: 5":                  "line 1: limits: must be a mapping of keys to values",
		"webhooks: {}":               "line 1: webhooks: must be a list",
		"- a":                        "must be a mapping of keys to values",
		"listen: [":                  "line 1: did not find expected node content",
		"a: b: c":                    "mapping values are not allowed in this context",
	} {
		if _, err := Parse([]byte(given)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant %s", given, err, want)
		}
	}
}
