package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Any file is a configuration, which is written and read again as it is, or is
// refused with faults that say where they are; a key that one suggests is there.
func FuzzAnyFileIsReadOrItsFaultsArePlaced(f *testing.F) {
	for _, s := range []string{
		"", "listen: 127.0.0.1:1\n", "listne: x\n", "limits: {modelTimout: 1s, stopGrace: 30}\n",
		"{}", "[]", "~", "a: &a [*a]",
		"region: a\nregion: b\n", "webhooks:\n- name: A\n  url: x\n", "images: {my/m:1.5: {comand: [x]}}\n",
		"devices:\n  listen: 'off'\n", "limits: &l {stopGrace: 1s}\nlog: *l\n", "<<: {listen: x}\n", "? [a]\n: b\n",
		"images:\n  m:\n    environment: [MODEL_*, '*']\n", "limits:\n  maxBodyBytes: 1e3\n", "listen: !!binary aGk=\n",
		"--- a\n--- b\n",
		"guardrails: {gates: [x]}\n", "account: 000000000000\n", "listen: null\nlimits: null\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			placed(t, text, err)
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("what was taken is not valid: %v", err)
		}
		out, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("written again it is another: %v\n%s", err, out)
		}
	})
}

func placed(t *testing.T, text []byte, err error) {
	t.Helper()
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	lines := 1 + strings.Count(string(text), "\n") + strings.Count(string(text), "\r")
	for _, err := range all {
		f, ok := errors.AsType[*Fault](err)
		if !ok || f.Text == "" {
			t.Fatalf("%T: %v", err, err)
		}
		if f.Line < 0 || f.Line > lines+1 {
			t.Fatalf("%v is in line %d of %d", f, f.Line, lines)
		}
		_, meant, ok := strings.Cut(f.Text, "did you mean ")
		if meant, _ = strings.CutSuffix(meant, "?"); ok && strings.Contains(f.Text, "is no key of") {
			if meant == f.Key || !knows(meant) {
				t.Fatalf("%v suggests %q", f, meant)
			}
		}
	}
}

// knows reports whether a path ends in a key that a configuration may have.
func knows(path string) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return last != "" && known(reflect.TypeFor[Config](), last, 0)
}

func known(t reflect.Type, key string, depth int) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > 6 {
		return false
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == key || known(t.Field(i).Type, key, depth+1) {
			return true
		}
	}
	return false
}
