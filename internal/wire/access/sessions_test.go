package access_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func sessions(t testing.TB) *access.Sessions {
	t.Helper()
	s, err := access.OpenSessions(filepath.Join(t.TempDir(), "session.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func session(thing string) access.Session {
	return access.Session{
		Thing: thing, Alias: "SageMakerEdge-f", RoleARN: "arn:aws:iam::123456789012:role/path/Devices",
		CertificateID: strings.Repeat("0a", 32),
		Account:       "123456789012", Region: "eu-west-1", Expires: now.Add(time.Hour),
	}
}

func issue(t testing.TB, s *access.Sessions, x access.Session) access.Credentials {
	t.Helper()
	c, err := s.Issue(x, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signed is a heartbeat as the SDK signs it.
func signed(t testing.TB, c access.Credentials, at time.Time) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(
		context.Background(), "POST", "http://localhost:9400/SendHeartbeat", strings.NewReader(body),
	)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(body))
	keys := aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
	}
	if err := v4.NewSigner().SignHTTP(
		context.Background(), keys, r, hex.EncodeToString(sum[:]), "sagemaker", "eu-west-1", at,
	); err != nil {
		t.Fatal(err)
	}
	return r
}

const body = `{"AgentVersion":"1","DeviceName":"d","DeviceFleetName":"f"}`

func verify(v *sigv4.Verifier, r *http.Request, at time.Time) (sigv4.Identity, string) {
	id, err := v.Verify(sigv4.FromHTTP(r), []byte(body), at)
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return id, e.Code
	}
	return id, ""
}

func TestWhatASessionSignsIsTheDevices(t *testing.T) {
	s := sessions(t)
	v := sigv4.NewVerifier(access.Ring{Sessions: s})
	c := issue(t, s, session("cam-1"))
	if !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || len(c.SecretAccessKey) != 40 ||
		!c.Expiration.Equal(now.Add(time.Hour)) {
		t.Errorf("%#v", c)
	}
	for range 2 { // the second comes from the cache
		id, code := verify(v, signed(t, c, now), now)
		if code != "" || id.ARN != "arn:aws:sts::123456789012:assumed-role/Devices/cam-1" ||
			!strings.HasPrefix(id.UserID, "AROA") || !strings.HasSuffix(id.UserID, ":cam-1") {
			t.Errorf("%+v %s", id, code)
		}
		caller := access.CallerOf(id, "000000000000")
		if d := caller.Device; d == nil ||
			*d != (access.Device{"cam-1", "SageMakerEdge-f", strings.Repeat("0a", 32), "eu-west-1"}) ||
			caller.Account != "000000000000" || caller.Region != "eu-west-1" {
			t.Errorf("%+v", caller)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.LogValue()); strings.Contains(text, c.SecretAccessKey) ||
		strings.Contains(text, c.SessionToken) {
		t.Error(text)
	}
}

func TestASessionIsRefusedOnceItHasExpired(t *testing.T) {
	s := sessions(t)
	v := sigv4.NewVerifier(access.Ring{Sessions: s})
	c := issue(t, s, session("cam-1"))
	for after, want := range map[time.Duration]string{
		time.Hour - time.Second: "", time.Hour: "ExpiredTokenException", 400 * 24 * time.Hour: "ExpiredTokenException",
	} {
		at := now.Add(after)
		if _, code := verify(v, signed(t, c, at), at); code != want {
			t.Errorf("after %s: %q", after, code)
		}
	}
}

func TestWithoutItsOwnTokenASessionsKeyIsWorthNothing(t *testing.T) {
	s := sessions(t)
	v := sigv4.NewVerifier(access.Ring{Sessions: s})
	a, b := issue(t, s, session("cam-1")), issue(t, s, session("cam-2"))
	if _, code := verify(v, signed(t, a, now), now); code != "" {
		t.Fatal(code)
	}
	elsewhere := issue(t, sessions(t), session("cam-1"))
	for name, c := range map[string]access.Credentials{
		"no token": {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey},
		"another session's token": {
			AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: b.SessionToken,
		},
		"another session's key": {
			AccessKeyID: b.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken,
		},
		"another server's session": elsewhere,
		"a line break in the token": {
			AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey,
			SessionToken: a.SessionToken[:9] + "\n" + a.SessionToken[9:],
		},
		"a token of another length": {
			AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey,
			SessionToken: a.SessionToken + strings.Repeat("A", 8000),
		},
		"a token that is not base 64": {
			AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: "to/ken==",
		},
		"an ID that no session can have": {
			AccessKeyID: "ASIA1", SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken,
		},
	} {
		if id, code := verify(v, signed(t, c, now), now); code != "UnrecognizedClientException" {
			t.Errorf("%s: %+v %q", name, id, code)
		}
	}
	wrong := a
	wrong.SecretAccessKey = b.SecretAccessKey
	if _, code := verify(v, signed(t, wrong, now), now); code != "InvalidSignatureException" {
		t.Error(code)
	}
}

// Whoever has no key may try what he likes, a session's own credentials among
// it: without the server's key no other token opens, in no other spelling.
func TestATamperedTokenNeverVerifies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := sessions(t)
		v := sigv4.NewVerifier(access.Ring{Sessions: s})
		c := issue(t, s, session(rapid.StringMatching(`[a-z0-9-]{1,20}`).Draw(rt, "thing")))
		if rapid.Bool().Draw(rt, "cached") {
			if _, code := verify(v, signed(t, c, now), now); code != "" {
				rt.Fatal(code)
			}
		}
		b := []byte(c.SessionToken)
		switch i := rapid.IntRange(0, len(b)-1).Draw(rt, "byte"); rapid.SampledFrom(
			[]string{"flip", "cut", "insert", "replace"},
		).Draw(rt, "how") {
		case "flip":
			b[i] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case "cut":
			b = b[:i]
		case "insert":
			b = append(b[:i:i], append([]byte{rapid.SampledFrom([]byte("A_-=\n")).Draw(rt, "char")}, b[i:]...)...)
		case "replace":
			was := b[i]
			if b[i] = rapid.SampledFrom([]byte("ABCabc019-_")).Draw(rt, "char"); was == b[i] {
				return
			}
		}
		forged := c
		forged.SessionToken = string(b)
		if k, ok := s.Session(forged.AccessKeyID, forged.SessionToken); ok {
			rt.Fatalf("it is the key %v", k)
		}
		if id, code := verify(v, signed(t, forged, now), now); code == "" {
			rt.Fatalf("it verified as %+v", id)
		}
	})
}

func FuzzNoTokenOpensButThoseThatWereIssued(f *testing.F) {
	s := access.NewSessions([32]byte{1})
	c := issue(f, s, session("cam-1"))
	f.Add(c.AccessKeyID, c.SessionToken[1:])
	f.Add(c.AccessKeyID, strings.Repeat("A", len(c.SessionToken)))
	f.Add("ASIA", "AQ")
	f.Fuzz(func(t *testing.T, id, token string) {
		if x, ok := s.Open(id, token); ok {
			t.Errorf("%q opened %+v", token, x)
		}
	})
}

func TestASessionComesBackAsItWasIssued(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := sessions(t)
		text := func(name string, min int) string { return rapid.StringN(min, -1, 100).Draw(rt, name) }
		x := access.Session{
			Thing: text("thing", 0), Alias: text("alias", 0), RoleARN: text("role", 1),
			CertificateID: text("certificate", 1), Account: text("account", 1), Region: text("region", 0),
			Expires: now.Add(time.Duration(rapid.IntRange(1, 1e6).Draw(rt, "seconds")) * time.Second),
		}
		c := issue(t, s, x)
		if got, ok := s.Open(c.AccessKeyID, c.SessionToken); !ok || got != x {
			rt.Fatalf("%+v %v, not %+v", got, ok, x)
		}
	})
}

func TestASessionThatCannotBeIsNotIssued(t *testing.T) {
	s := sessions(t)
	for name, change := range map[string]func(*access.Session){
		"one of no certificate":    func(x *access.Session) { x.CertificateID = "" },
		"one of no role":           func(x *access.Session) { x.RoleARN = "" },
		"one of no account":        func(x *access.Session) { x.Account = "" },
		"one that has expired":     func(x *access.Session) { x.Expires = now },
		"one with an endless name": func(x *access.Session) { x.Thing = strings.Repeat("x", 513) },
	} {
		x := session("cam-1")
		change(&x)
		if c, err := s.Issue(x, now); err == nil {
			t.Errorf("%s: %v", name, c)
		}
	}
	x := session("")
	if k, ok := s.Session(issue(t, s, x).AccessKeyID, ""); ok {
		t.Error(k)
	}
	c := issue(t, s, x)
	if k, _ := s.Session(c.AccessKeyID, c.SessionToken); !strings.HasSuffix(k.ARN, "/Devices/"+x.CertificateID) ||
		k.Session == nil {
		t.Errorf("%s %+v", k.ARN, k.Session)
	}
}

func TestSessionsOutliveARestartOfTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "session.key")
	first, err := access.OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	c := issue(t, first, session("cam-1"))
	again, err := access.OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Session(c.AccessKeyID, c.SessionToken); !ok {
		t.Error("it is forgotten")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	for text, mode := range map[string]os.FileMode{"short": 0o600, "": 0o600, strings.Repeat("00", 32): 0o644} {
		bad := filepath.Join(t.TempDir(), "session.key")
		if err := os.WriteFile(bad, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := access.OpenSessions(bad); err == nil {
			t.Errorf("%q of mode %o was taken", text, mode)
		}
	}
}

func TestTheCacheOfSessionsIsBoundedAndForgetsNothingThatMatters(t *testing.T) {
	s := access.NewSessions([32]byte{1})
	s.Bound(100)
	first := issue(t, s, session("first"))
	for i := range 1000 {
		c := first
		if i > 0 {
			c = issue(t, s, session("x"))
		}
		if _, ok := s.Session(c.AccessKeyID, c.SessionToken); !ok {
			t.Fatal(i)
		}
	}
	if k, ok := s.Session(first.AccessKeyID, first.SessionToken); !ok || k.Session.Thing != "first" {
		t.Error(k, ok)
	}
	if n := s.Cached(); n > 200 || n < 100 {
		t.Errorf("%d sessions are cached", n)
	}
}

func TestADeviceMayDoNextToNothing(t *testing.T) {
	admin, device := access.Caller{}, access.Caller{ARN: "arn:x", Device: &access.Device{CertificateID: "c"}}
	for action, may := range map[string]bool{
		"sagemaker:GetDeployments": true, "sagemaker:SendHeartbeat": true, "s3:GetObject": true, "s3:PutObject": true,
		"sagemaker:InvokeEndpoint": false, "sagemaker:CreateModel": false, "sagemaker:DescribeDevice": false,
		"s3:DeleteObject":  false,
		"s3:ListObjectsV2": false, "iot:CreateThing": false, "": false,
	} {
		if err := access.Allow(admin, action, "r"); err != nil {
			t.Error(err)
		}
		if err := access.Allow(device, action, "r"); (err == nil) != may ||
			err != nil && !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", action, err)
		}
	}
}

// One heartbeat of a session that is known, and one of a session that is not.
func BenchmarkVerifySession(b *testing.B) {
	s := sessions(b)
	v := sigv4.NewVerifier(access.Ring{Sessions: s})
	b.Run("known", func(b *testing.B) {
		r := sigv4.FromHTTP(signed(b, issue(b, s, session("cam-1")), now))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(r, []byte(body), now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		r := sigv4.FromHTTP(signed(b, issue(b, s, session("cam-1")), now))
		b.ReportAllocs()
		for b.Loop() {
			s.Forget()
			if _, err := v.Verify(r, []byte(body), now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("issue", func(b *testing.B) {
		for b.Loop() {
			if c := issue(b, s, session("cam-1")); bytes.Equal([]byte(c.SecretAccessKey), nil) {
				b.Fatal(c)
			}
		}
	})
}
