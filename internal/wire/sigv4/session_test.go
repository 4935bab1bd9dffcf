package sigv4_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// sessionRing knows the sessions of the test ring by their tokens only.
type sessionRing struct{ memo map[string]*sigv4.Memo }

func newSessionRing() sessionRing {
	return sessionRing{map[string]*sigv4.Memo{"ASIASESSION": new(sigv4.Memo), "ASIAEXPIRED": new(sigv4.Memo)}}
}

func (sessionRing) Key(id string) (sigv4.Key, bool) {
	k, ok := testRing()[id]
	return k, ok && k.SessionToken == ""
}

func (r sessionRing) Session(id, token string) (sigv4.Key, bool) {
	k, ok := testRing()[id]
	ok = ok && token != "" && k.SessionToken == token
	k.SessionToken, k.Memo, k.Session = "", r.memo[id], &sigv4.Session{Thing: "cam-1"}
	return k, ok
}

func TestASessionVerifiesInEveryForm(t *testing.T) {
	v := sigv4.NewVerifier(newSessionRing())
	s3 := invoke()
	s3.method, s3.service, s3.target = "PUT", "s3", "http://127.0.0.1:9400/b/k"
	unsigned := s3
	unsigned.hash = "UNSIGNED-PAYLOAD"
	for _, id := range []string{"ASIASESSION", "ASIAEXPIRED", "AKIDEXAMPLE"} {
		token := testRing()[id].SessionToken
		forms := map[string]*http.Request{
			"version 2, presigned": presignV2(
				"GET", "/b/k", "", map[string]string{"x-amz-security-token": token}, now.Add(time.Minute),
				testRing()[id],
			),
		}
		for name, c := range map[string]call{"S3": s3, "S3, unsigned": unsigned, "an API": invoke()} {
			c.key = id
			forms[name+" in headers"] = c.signed(t)
			if name != "S3" {
				forms[name+", presigned"] = c.presigned(t, "600")
			}
		}
		for name, r := range forms {
			var who sigv4.Identity
			var err error
			if strings.HasPrefix(name, "an API") {
				who, err = v.Verify(sigv4.FromHTTP(r), invoke().body, now)
			} else {
				who, _, err = v.VerifyS3(r, now)
			}
			e, _ := errors.AsType[*sigv4.Error](err)
			switch {
			case id == "ASIAEXPIRED" && (e == nil || !strings.HasPrefix(e.Code, "ExpiredToken")):
				t.Errorf("%s, expired: %v %v", name, who, err)
			case id == "ASIASESSION" && (err != nil || who.Session == nil || who.Session.Thing != "cam-1"):
				t.Errorf("%s: %v %v", name, who, err)
			case id == "AKIDEXAMPLE" && (err != nil || who.Session != nil):
				t.Errorf("%s, of no session: %v %v", name, who, err)
			}
		}
	}
}

func TestATokenThatIsNotTheSessionsIsRefusedInTheWordsOfTheAPI(t *testing.T) {
	v := sigv4.NewVerifier(newSessionRing())
	for service, want := range map[string]string{
		"sagemaker": "UnrecognizedClientException", "sts": "InvalidClientTokenId", "s3": "InvalidToken",
	} {
		c := invoke()
		c.service, c.key = service, "ASIASESSION"
		r := c.signed(t)
		r.Header.Set("X-Amz-Security-Token", "another")
		_, err := v.Verify(sigv4.FromHTTP(r), c.body, now)
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Code != want {
			t.Errorf("%s: %v", service, err)
		}
		r.Header.Del("X-Amz-Security-Token")
		if _, err := v.Verify(sigv4.FromHTTP(r), c.body, now); err == nil {
			t.Errorf("%s: it verified without a token", service)
		}
	}
}
