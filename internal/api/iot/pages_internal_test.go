package iot

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

func TestAMarkerHasTheAlphabetOfMarkersAndLeadsOn(t *testing.T) {
	s, alphabet := arn.Scope{Region: "us-east-1", Account: "000000000000"}, regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)
	for i := range 500 {
		name := fmt.Sprintf("name-%d", i*7919)
		l, err := openMarked("ListRoleAliases", s, i%2 == 0, nil, new(int32(1)))
		if err != nil {
			t.Fatal(err)
		}
		_, next := cutNames(l, []string{name, "more"})
		m := marker(next)
		if !alphabet.MatchString(*m) {
			t.Fatal(*m)
		}
		if l, err = openMarked("ListRoleAliases", s, i%2 == 0, m, nil); err != nil || l.after != name {
			t.Fatal(l.after, err)
		}
	}
}
