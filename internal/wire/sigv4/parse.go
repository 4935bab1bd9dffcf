package sigv4

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// auth is what a request says of its own signature. Its strings are views of
// the request.
type auth struct {
	keyID, day, region, service string
	scope                       string // day/region/service/aws4_request
	signedHeaders               string
	signature                   string
	date                        string // as in the string to sign: 20060102T150405Z
	token                       string
	contentHash                 string // X-Amz-Content-Sha256 of a presigned request
	signed                      time.Time
	expires                     time.Duration
	presigned                   bool
}

// style is the one in which to answer, as far as the scope is known.
func (a *auth) style() Style {
	switch a.service {
	case serviceS3:
		return StyleS3
	case "sts":
		return StyleQuery
	}
	return StyleJSON
}

// Bounds on what is parsed: far above what any client sends.
const (
	maxAuthorization = 8 << 10
	maxSignedHeaders = 256
	maxQueryPairs    = 1024
)

// parse reads either form of authentication, and refuses a request that has
// both. It leaves the normalised query in sc.
func parse(r Request, sc *scratch) (auth, *Error) {
	var a auth
	if e := sc.normaliseQuery(r.Query()); e != nil {
		return a, e
	}
	header, inHeader := r.Header("authorization")
	inQuery := sc.has("X-Amz-Algorithm") || sc.has("X-Amz-Signature") || sc.has("X-Amz-Credential")
	switch {
	case inHeader && (inQuery || sc.has("Signature") && sc.has("AWSAccessKeyId")):
		return a, fail(reasonTwice, "")
	case inHeader:
		e := a.fromHeader(r, header)
		return a, e
	case inQuery:
		e := a.fromQuery(sc)
		return a, e
	}
	return a, fail(reasonMissing, "")
}

func (a *auth) fromHeader(r Request, header string) *Error {
	if len(header) > maxAuthorization {
		return fail(reasonMalformed, "The Authorization header is too long.")
	}
	rest, ok := strings.CutPrefix(header, algorithm)
	if !ok || rest != "" && rest[0] != ' ' {
		return fail(
			reasonUnsupported, "Unsupported AWS 'algorithm' in the Authorization header; it must be AWS4-HMAC-SHA256.",
		)
	}
	var credential string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		for part != "" && part[0] == ' ' {
			part = part[1:]
		}
		name, value, _ := strings.Cut(part, "=")
		var to *string
		switch name {
		case "Credential":
			to = &credential
		case "SignedHeaders":
			to = &a.signedHeaders
		case "Signature":
			to = &a.signature
		case "":
			if value == "" {
				continue
			}
		}
		if to == nil || *to != "" {
			return fail(reasonMalformed, "Authorization header has a parameter that is unknown or given twice.")
		}
		*to = strings.TrimRight(value, " ")
	}
	date, e := requestDate(r)
	if e != nil {
		return e
	}
	a.date = date
	if credential == "" || a.signedHeaders == "" || a.signature == "" || a.date == "" {
		return fail(reasonMalformed, missingText(credential, a))
	}
	if e := a.splitCredential(credential, reasonMalformed); e != nil {
		return e
	}
	if a.signed, ok = parseDate(a.date); !ok {
		return fail(
			reasonMalformed,
			"Date must be in ISO-8601 'basic format'. Got '"+clip(a.date)+
				"'. See http://en.wikipedia.org/wiki/ISO_8601",
		)
	}
	var hasToken bool
	if a.token, hasToken = r.Header("x-amz-security-token"); hasToken && !a.signs("x-amz-security-token") {
		return fail(reasonUnsigned, "")
	}
	return a.wantHost(reasonMalformed)
}

// missingText lists what an Authorization header lacks, as AWS words it.
func missingText(credential string, a *auth) string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{
		{"Credential", credential}, {"Signature", a.signature}, {"SignedHeaders", a.signedHeaders},
	} {
		if f.value == "" {
			b.WriteString("Authorization header requires '" + f.name + "' parameter. ")
		}
	}
	if a.date == "" {
		b.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	return strings.TrimSuffix(b.String(), " ")
}

// requestDate returns X-Amz-Date, or Date in the same form.
func requestDate(r Request) (string, *Error) {
	if d, ok := r.Header("x-amz-date"); ok {
		return d, nil
	}
	d, ok := r.Header("date")
	if !ok {
		return "", nil
	}
	if _, ok := parseDate(d); ok {
		return d, nil
	}
	for _, layout := range []string{time.RFC1123, time.RFC1123Z} {
		if t, err := time.Parse(layout, d); err == nil {
			return t.UTC().Format(isoBasic), nil
		}
	}
	return "", fail(reasonMalformed, "The Date header is not a valid date.")
}

func (a *auth) fromQuery(sc *scratch) *Error {
	a.presigned = true
	values := [...]struct {
		name string
		to   *string
	}{
		{"X-Amz-Algorithm", new(string)},
		{"X-Amz-Credential", new(string)},
		{"X-Amz-Date", &a.date},
		{"X-Amz-SignedHeaders", &a.signedHeaders},
		{"X-Amz-Signature", &a.signature},
		{"X-Amz-Expires", new(string)},
		{"X-Amz-Security-Token", &a.token},
		{"X-Amz-Content-Sha256", &a.contentHash},
	}
	for i, v := range values {
		var n int
		if *v.to, n = sc.value(v.name); n > 1 || n == 0 && i < 5 {
			a.styleFrom(sc)
			return fail(
				reasonMalformedQuery,
				"Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "+
					"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each once.",
			)
		}
	}
	if e := a.splitCredential(*values[1].to, reasonMalformedQuery); e != nil {
		return e
	}
	if *values[0].to != algorithm {
		return fail(reasonMalformedQuery, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\".")
	}
	var ok bool
	if a.signed, ok = parseDate(a.date); !ok {
		return fail(reasonMalformedQuery, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if e := a.readExpires(*values[5].to); e != nil {
		return e
	}
	return a.wantHost(reasonMalformedQuery)
}

// styleFrom learns from a credential that may be incomplete how to answer.
func (a *auth) styleFrom(sc *scratch) {
	if c, _ := sc.value("X-Amz-Credential"); c != "" {
		_ = a.splitCredential(c, reasonMalformedQuery) // the caller has a refusal already
	}
}

func (a *auth) readExpires(s string) *Error {
	if s == "" && a.service != serviceS3 {
		a.expires = defaultExpiry
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return fail(reasonMalformedQuery, "X-Amz-Expires should be a number")
	case n < 0:
		return fail(reasonMalformedQuery, "X-Amz-Expires must be non-negative")
	case n > int64(longestExpiry/time.Second):
		return fail(
			reasonMalformedQuery,
			"X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "+
				"604800 seconds",
		)
	}
	a.expires = time.Duration(n) * time.Second
	return nil
}

// splitCredential reads <key id>/<day>/<region>/<service>/aws4_request.
func (a *auth) splitCredential(c string, r reason) *Error {
	keyID, scope, ok := strings.Cut(c, "/")
	day, rest, ok1 := strings.Cut(scope, "/")
	region, rest, ok2 := strings.Cut(rest, "/")
	service, end, ok3 := strings.Cut(rest, "/")
	if !ok || !ok1 || !ok2 || !ok3 || end != terminal {
		return fail(
			r,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"+
				clip(c)+"'",
		)
	}
	if a.service = service; !validName(service) {
		a.service = ""
		return fail(r, "Credential names a service that is not valid.")
	}
	if keyID == "" || len(keyID) > 128 || !validDay(day) || !validName(region) {
		return fail(r, "Credential must be keyid/yyyyMMdd/region/service/aws4_request, got '"+clip(c)+"'")
	}
	a.keyID, a.day, a.region, a.scope = keyID, day, region, scope
	return nil
}

func (a *auth) wantHost(r reason) *Error {
	if strings.Count(a.signedHeaders, ";") >= maxSignedHeaders {
		return fail(r, "SignedHeaders names too many headers.")
	}
	if !a.signs("host") {
		return fail(r, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// signs reports whether the signature covers a header.
func (a *auth) signs(name string) bool {
	for rest := a.signedHeaders; rest != ""; {
		var h string
		if h, rest, _ = strings.Cut(rest, ";"); h == name {
			return true
		}
	}
	return false
}

// parseDate reads 20060102T150405Z without allocating.
func parseDate(s string) (time.Time, bool) {
	if len(s) != len(isoBasic) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	year, ok1 := digits(s[0:4])
	month, ok2 := digits(s[4:6])
	day, ok3 := digits(s[6:8])
	hour, ok4 := digits(s[9:11])
	minute, ok5 := digits(s[11:13])
	sec, ok6 := digits(s[13:15])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || hour > 23 || minute > 59 || sec > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	if t.Month() != time.Month(month) || t.Day() != day { // 31 February
		return time.Time{}, false
	}
	return t, true
}

func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

func validDay(s string) bool {
	_, ok := digits(s)
	return ok && len(s) == 8
}

// validName accepts what a region or service may look like: it ends up in
// resource names.
func validName(s string) bool {
	if s == "" || len(s) > 40 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// clip keeps what a message echoes short and printable.
func clip(s string) string {
	if len(s) > 128 {
		s = s[:128] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// unescape decodes a normalised query value, in which '+' cannot occur.
func unescape(b []byte) string {
	s, err := url.PathUnescape(string(b))
	if err != nil { // cannot be: it was written by appendEncoded
		return ""
	}
	return s
}
