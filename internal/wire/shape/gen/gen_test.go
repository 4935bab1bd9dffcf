package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheCommittedFilesAreWhatTheFactsGenerate(t *testing.T) {
	files, err := generate("../facts")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, f := range files {
		path := filepath.Join("..", f.path)
		wanted[path] = true
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, f.text) {
			t.Errorf("%s is not up to date (%v): run go generate ./internal/wire/shape", f.path, err)
		}
	}
	for _, glob := range []string{"../*/*_gen.go", "../*/*_gen_test.go"} {
		paths, _ := filepath.Glob(glob) // the pattern is well-formed
		for _, path := range paths {
			if !wanted[path] {
				t.Errorf("%s comes from no facts", path)
			}
		}
	}
}

// What no operation uses any more is to go with it.
func TestTheFactsHoldNoShapeThatNoOperationUses(t *testing.T) {
	names, err := filepath.Glob("../facts/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		s, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		roots, err := s.reachable()
		if err != nil {
			t.Fatal(err)
		}
		for shape, f := range s.Shapes {
			if f.Exception {
				roots = append(roots, shape)
			}
		}
		used, err := s.closure(roots)
		if err != nil {
			t.Fatal(err)
		}
		for shape := range s.Shapes {
			if !slices.Contains(used, shape) {
				t.Errorf("%s: %s is of no operation", name, shape)
			}
		}
	}
}

func TestFactsThatGoCannotHoldAreRefused(t *testing.T) {
	tests := map[string]string{
		"a shape that contains itself": `{"service":"x","operations":{"A":{"input":"In"}},` +
			`"shapes":{"In":{"type":"structure","members":{"I":{"shape":"In"}}}}}`,
		"a shape that is not there": `{"service":"x","operations":{"A":{"input":"In"}},"shapes":{}}`,
		"an unknown type": `{"service":"x","operations":{"A":{"input":"In"}},` +
			`"shapes":{"In":{"type":"bigdecimal"}}}`,
		"a member that hides a method": `{"service":"x","operations":{"A":{"input":"In"}},` +
			`"shapes":{"In":{"type":"structure","members":{"Shape":{"shape":"S"}}},"S":{"type":"string"}}}`,
		"two constants of one name": `{"service":"x","operations":{"A":{"input":"In"}},` +
			`"shapes":{"In":{"type":"structure","members":{"E":{"shape":"E"}}},"E":{"type":"string","enum":["a-b",` +
			`"a.b"]}}}`,
		"no operations": `{"service":"x"}`,
	}
	for name, facts := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(facts), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := generate(dir); err == nil {
				t.Error("it was taken")
			}
		})
	}
}
