package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever changes the training must run it: the files that are shipped are
// what it makes. Archives are compared unpacked, because another Go may
// compress otherwise.
func TestTheShippedFilesAreWhatTrainingMakes(t *testing.T) {
	out, err := build("../data/digits.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(out.files) != 10 {
		t.Fatalf("%d files", len(out.files))
	}
	for _, f := range out.files {
		shipped, err := os.ReadFile(filepath.Join("..", f.name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(unpacked(t, f.name, shipped), unpacked(t, f.name, f.data)) {
			t.Errorf("%s differs from what training makes; run go run ./models/train", f.name)
		}
	}
}

func unpacked(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	if !strings.HasSuffix(name, ".gz") {
		return b
	}
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}
