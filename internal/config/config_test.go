package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestTheDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Error(diff)
	}
}

func TestAFileChangesOnlyTheKeysItNames(t *testing.T) {
	got, err := Parse([]byte(`
listen: 127.0.0.1:0
account: "123456789012"
images:
  my/model:latest: {command: [python3, serve.py]}
limits:
  modelTimeout: 90s
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen = "127.0.0.1:0"
	want.Account = "123456789012"
	want.Images["my/model:latest"] = Image{Command: []string{"python3", "serve.py"}}
	want.Limits.ModelTimeout = Duration(90 * time.Second)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWrittenCanBeReadAgain(t *testing.T) {
	text, err := yaml.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Error(diff)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	c := Config{
		Listen: "nowhere", Region: "Mars", Account: "1",
		Images:   map[string]Image{"a b": {}, "c": {}, "d": {Environment: []string{"*"}}},
		Database: Database{URL: "mysql://root:secret@h/x"}, Log: Log{Level: "loud", Format: "xml"},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, key := range []string{
		"listen:", "dataDir:", "region:", "account:", `images: "a b"`, "images.c.command", "images.d.environment",
		"database.url:",
		"limits.maxBodyBytes:", "limits.maxModelBytes:",
		"limits.modelCacheBytes:", "limits.modelTimeout:", "limits.streamTimeout:",
		"limits.startupWindow:", "limits.stopGrace:", "limits.drainTimeout:", "limits.presignedLifetime:", "log.level:",
		"log.format:",
	} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("the error does not name %s\n%v", key, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the error shows the database's password")
	}
}

func TestAFileWithAFaultIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":            {"listne: 127.0.0.1:1", `line 1: listne: is no key`},
		"an unknown key further in": {"limits: {modelTimout: 1s}", `line 1: limits.modelTimout: is no key of limits`},
		"a key given twice":         {"region: us-east-1\nregion: us-west-2", "line 2: region: is given twice"},
		"a duration without unit":   {"limits: {modelTimeout: 60}", `60 is not a duration like "30s"`},
		"a duration of words":       {"limits: {modelTimeout: soon}", `"soon" is not a duration like "30s"`},
		"an account read as octal":  {"account: 000000000123", "quote it in YAML"},
		"no YAML at all":            {"{", "did not find expected node content"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAProgramBesideTheRunningOneIsFoundThere(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Images: map[string]Image{
		"beside":    {Command: []string{filepath.Base(self), "{port}"}},
		"elsewhere": {Command: []string{"slipway-no-such-program"}},
		"by path":   {Command: []string{"./" + filepath.Base(self)}},
	}}
	for image, want := range map[string][]string{
		"beside":    {self, "{port}"},
		"elsewhere": {"slipway-no-such-program"},
		"by path":   {"./" + filepath.Base(self)},
	} {
		got, ok := c.Argv(image)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s: %s", image, diff)
		}
	}
	if _, ok := c.Argv("unknown"); ok {
		t.Error("an unknown image has a command")
	}
}

func TestGatesAreCheckedWhenAServerStarts(t *testing.T) {
	c, err := Parse([]byte("guardrails: {gates: {errors: action=rollback ratio=2, retries: \"\"}}"))
	if err != nil || c.Guardrails.Gates["errors"] != "action=rollback ratio=2" {
		t.Errorf("%+v, %v", c.Guardrails, err)
	}
	_, err = Parse([]byte("guardrails:\n  gates:\n    errors: ratoi=2\n    latencies: factor=2\n" +
		"    drift: labels=public\n    accuracy: action=hold\n    retries: action=hold\n"))
	for _, want := range []string{
		`line 3: guardrails.gates.errors: says "ratoi"`, `did you mean "ratio"?`,
		`line 4: guardrails.gates.latencies: names no gate; did you mean "latency"?`,
		`line 5: guardrails.gates.drift: Gate "drift" says "labels=public", which is not supported by this server`,
		`guardrails.gates.accuracy: may only report or roll back`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "gates.retries") {
		t.Errorf("a hold is refused: %v", err)
	}
}
