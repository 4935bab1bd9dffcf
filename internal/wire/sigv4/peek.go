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
// calls it before it reads a body into memory; it vouches for nothing, the key
// that it returns the ID of included.
func (v *Verifier) Admit(r Request, now time.Time) (accessKeyID string, err error) {
	sc := v.scratch.Get().(*scratch)
	defer v.putScratch(sc)
	_, key, e := v.admit(r, sc, now)
	return key.ID, asError(e)
}
