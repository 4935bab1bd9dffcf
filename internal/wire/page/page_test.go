package page_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/page"
)

type cursor struct {
	Name  string
	Micro int64
}

type filter struct{ NameContains, SortBy string }

func TestATokenLeadsOnInItsOwnListingOnly(t *testing.T) {
	here := arn.Scope{Region: "us-east-1", Account: "000000000000"}
	of := func(op string, s arn.Scope, f filter) page.Pages[cursor] {
		p, err := page.Of[cursor](op, s, f)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	last := cursor{"a", 7}
	token := of("ListDevices", here, filter{"x", ""}).Next(last)
	for name, tt := range map[string]struct {
		pages page.Pages[cursor]
		fits  bool
	}{
		"the same":          {of("ListDevices", here, filter{"x", ""}), true},
		"another operation": {of("ListDeviceFleets", here, filter{"x", ""}), false},
		"another region": {
			of("ListDevices", arn.Scope{Region: "eu-west-1", Account: here.Account}, filter{"x", ""}), false,
		},
		"another account": {
			of("ListDevices", arn.Scope{Region: here.Region, Account: "111111111111"}, filter{"x", ""}), false,
		},
		"another filter": {of("ListDevices", here, filter{"", "x"}), false},
	} {
		got, err := tt.pages.After(token)
		if tt.fits != (err == nil && got == last) || !tt.fits && !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

func TestWithoutATokenAListingBeginsAtItsBeginning(t *testing.T) {
	p, err := page.Of[cursor]("L", arn.Scope{}, nil)
	for _, token := range []*string{nil, new("")} {
		if got, e := p.After(token); got != (cursor{}) || e != nil || err != nil {
			t.Error(got, e, err)
		}
	}
}

func TestWhatIsNoTokenIsInvalid(t *testing.T) {
	p, _ := page.Of[cursor]("L", arn.Scope{}, nil)
	good := *p.Next(cursor{Name: "a"})
	for _, bad := range []string{"x", "e30", "bnVsbA", "===", good[1:], good + "A", strings.Repeat("A", 8193)} {
		_, err := p.After(&bad)
		if kind, text := fault.Public(err); kind != fault.Invalid || text != "Invalid pagination token." {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEveryCursorComesBackAsItWas(t *testing.T) {
	p, _ := page.Of[cursor]("L", arn.Scope{}, nil)
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{rapid.String().Draw(t, "name"), rapid.Int64().Draw(t, "micro")}
		if got, err := p.After(p.Next(c)); err != nil || got != c {
			t.Errorf("%v %v", got, err)
		}
	})
}

func TestAFilterThatCannotBeWrittenIsAnError(t *testing.T) {
	if _, err := page.Of[cursor]("L", arn.Scope{}, math.NaN()); err == nil {
		t.Error("it was taken")
	}
}
