package enroll_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/enroll"
)

var token = enroll.Token{
	URL: "https://edge.example:9443", ID: "t-1", Secret: []byte("0123456789abcdef0123456789abcdef"),
	CA:    strings.Repeat("ab", 32),
	Fleet: "line-1", Name: "camera-7", Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func TestATokenSurvivesBeingCarriedOver(t *testing.T) {
	got, err := enroll.ParseToken("  " + token.String() + "\n")
	if d := cmp.Diff(token, got); d != "" || err != nil {
		t.Error(err, d)
	}
}

func TestWhatIsNoTokenIsRefusedWithoutRepeatingIt(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"another prefix": "slipway-enroll-v2." + strings.TrimPrefix(token.String(), enroll.Prefix),
		"cut short":      token.String()[:len(token.String())-9],
		"no secret":      enroll.Token{URL: "http://x", ID: "i"}.String(),
		"endless":        enroll.Prefix + strings.Repeat("A", 1<<20),
		"not base64":     enroll.Prefix + "secret!",
	} {
		if _, err := enroll.ParseToken(text); err == nil || len(err.Error()) > 200 ||
			strings.Contains(err.Error(), "secret!") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARequestIsAuthenticOnlyAsItWasMade(t *testing.T) {
	r := token.Request([]byte("csr"))
	if !r.Authentic(token.Secret) {
		t.Error("as it was made")
	}
	for name, change := range map[string]func(*enroll.Request){
		"another key": func(r *enroll.Request) { r.CSR = []byte("other") },
		"another id":  func(r *enroll.Request) { r.ID = "t-2" },
		"no mac":      func(r *enroll.Request) { r.MAC = nil },
		// The id ends where it ends: bytes cannot move from it to the CSR.
		"a moved border": func(r *enroll.Request) { r.ID, r.CSR = "t", append([]byte("-1\x00"), r.CSR...) },
	} {
		r := token.Request([]byte("csr"))
		change(&r)
		if r.Authentic(token.Secret) {
			t.Error(name)
		}
	}
	if r.Authentic([]byte("another secret")) {
		t.Error("under another secret")
	}
}

func TestAReplyIsCheckedAsAWholeAndForItsRequest(t *testing.T) {
	request := token.Request([]byte("csr"))
	made := func() enroll.Reply {
		r := enroll.Reply{
			Certificate: "cert", Chain: "chain", SigningRoots: map[string]string{"us-east-1": "root"},
			Config: map[string]string{"a": "b", "c": "d"},
		}
		if err := r.Sign(token.Secret, request); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := made()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got enroll.Reply
	if err := json.Unmarshal(text, &got); err != nil || got.Check(token.Secret, request) != nil {
		t.Error("as it was made:", err)
	}
	for name, change := range map[string]func(*enroll.Reply){
		"another certificate": func(r *enroll.Reply) { r.Certificate = "cert2" },
		"a moved border":      func(r *enroll.Reply) { r.Certificate, r.Chain = "certc", "hain" },
		"no root":             func(r *enroll.Reply) { r.SigningRoots = nil },
		"a root of another":   func(r *enroll.Reply) { r.SigningRoots = map[string]string{"us-east-2": "root"} },
		"a further setting":   func(r *enroll.Reply) { r.Config["e"] = "f" },
		"a setting as a root": func(r *enroll.Reply) { delete(r.Config, "a"); r.SigningRoots["a"] = "b" },
		"no mac":              func(r *enroll.Reply) { r.MAC = nil },
	} {
		r := made()
		change(&r)
		if r.Check(token.Secret, request) == nil {
			t.Error(name)
		}
	}
	if r.Check(token.Secret, token.Request([]byte("another"))) == nil {
		t.Error("for another request")
	}
}
