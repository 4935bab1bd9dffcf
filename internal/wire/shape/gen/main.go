// Command gen writes the Go structs, the shape tables and the operation tables
// of every service in ../facts. It is run by go generate in internal/wire/shape
// and writes one package per service below it. The same facts always give the
// same bytes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run generates below dir, the folder of package shape.
func run(dir string) error {
	files, err := generate(filepath.Join(dir, "facts"))
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A file is one generated file, its path relative to package shape.
type file struct {
	path string
	text []byte
}

// generate returns the generated files of every facts file in the folder.
func generate(facts string) ([]file, error) {
	names, err := filepath.Glob(filepath.Join(facts, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var files []file
	for _, name := range names {
		s, err := load(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pkg := strings.ReplaceAll(s.Service, "-", "")
		out, err := emit(pkg, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, out...)
	}
	return files, nil
}
