package sigv4

import (
	"net/url"
	"strings"
	"time"
)

// ScopeOf returns the region and service that a request says it was signed
// for, which nothing has verified yet: enough to choose who verifies it, and in
// whose words to refuse it. It answers "" for what it cannot read.
func ScopeOf(r Request) (region, service string) {
	credential := ""
	if h, ok := r.Header("authorization"); ok {
		_, credential, _ = strings.Cut(h, "Credential=")
		credential, _, _ = strings.Cut(credential, ",")
	} else if _, q, ok := strings.Cut("&"+r.Query(), "&X-Amz-Credential="); ok {
		q, _, _ = strings.Cut(q, "&")
		credential, _ = url.QueryUnescape(q) // "" if it is malformed
	}
	parts := strings.Split(strings.TrimSpace(credential), "/")
	if len(parts) != 5 || !validName(parts[2]) || !validName(parts[3]) {
		return "", ""
	}
	return strings.Clone(parts[2]), strings.Clone(parts[3])
}

// Admit refuses a request that cannot verify whatever its body: one without
// authentication, of an unknown key, out of scope or out of time. A server
// calls it before it reads a body into memory; it vouches for nothing: the
// identity that it returns is what the request claims.
func (v *Verifier) Admit(r Request, now time.Time) (claimed Identity, err error) {
	sc := v.scratch.Get().(*scratch)
	defer v.putScratch(sc)
	a, key, e := v.admit(r, sc, now)
	if e != nil {
		return Identity{}, e
	}
	return Identity{
		AccessKeyID: key.ID, ARN: key.ARN, UserID: key.UserID, Region: strings.Clone(a.region),
		Service: strings.Clone(a.service), Signed: a.signed, Session: key.Session,
	}, nil
}
