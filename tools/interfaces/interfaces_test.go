package main

import (
	"slices"
	"testing"
)

func TestInterfacesOfOneImplementationAreFound(t *testing.T) {
	got, err := find("testdata/m")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"m.go:6: none has 0 implementation(s)", "m.go:8: one has 1 implementation(s)"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
