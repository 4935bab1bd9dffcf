package sigv4

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

// VerifyS3 says who signed the head of an S3 request, in any of S3's forms,
// Version 2's presigned one among them. The body is still to come: it must be
// read through the Payload, to its end. Parameters of the query that stand for
// headers are put among r's headers, and headers that were sent several times
// become one. Every error is an *Error.
func (v *Verifier) VerifyS3(r *http.Request, now time.Time) (Identity, *Payload, error) {
	sc := v.scratch.Get().(*scratch)
	defer v.putScratch(sc)
	for name, values := range r.Header { // whoever reads one would not see the others
		if len(values) > 1 {
			r.Header[name] = []string{strings.Join(values, ",")}
		}
	}
	req := FromHTTP(r)
	if IsV2(r) {
		id, e := v.verifyV2(r, sc, now)
		if e == nil {
			e = hoist(r, inVersion2)
		}
		if e != nil {
			return Identity{}, nil, e.In(StyleS3)
		}
		form, e := formOf(cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), unsignedPayload))
		if e == nil && form.signed {
			e = fail(reasonV2, "Chunks cannot be signed in Signature Version 2.")
		}
		if e != nil {
			return Identity{}, nil, e.In(StyleS3)
		}
		p, e := newPayload(r, form, nil)
		if e != nil {
			return Identity{}, nil, e.In(StyleS3)
		}
		return id, p, nil
	}
	id, p, e := v.verifyV4(r, req, sc, now)
	if e != nil {
		return Identity{}, nil, e.In(StyleS3)
	}
	return id, p, nil
}

func (v *Verifier) verifyV4(r *http.Request, req Request, sc *scratch, now time.Time) (Identity, *Payload, *Error) {
	a, key, e := v.admit(req, sc, now)
	if e != nil {
		return Identity{}, nil, e
	}
	if a.service != serviceS3 {
		return Identity{}, nil, WrongService(serviceS3)
	}
	form, e := payloadOf(req, &a)
	if e != nil {
		return Identity{}, nil, e
	}
	where := inHeader
	if a.presigned {
		where = inQuery
	}
	// What acts on the request must be signed (S3's rule for its own headers).
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !a.signs(strings.ToLower(name)) {
			return Identity{}, nil, fail(reasonUnsigned, "")
		}
	}
	id, sk, e := v.check(req, sc, &a, key, form.hash)
	if e != nil {
		return Identity{}, nil, e
	}
	var chain *chunkChain
	if form.signed {
		chain = &chunkChain{key: sk, previous: strings.Clone(a.signature)}
		chain.head = strings.Clone(a.date) + "\n" + strings.Clone(a.scope) + "\n"
	}
	if e := hoist(r, where); e != nil {
		return Identity{}, nil, e
	}
	p, e := newPayload(r, form, chain)
	return id, p, e
}

// presignedWith are the parameters of a presigned request that make its signature.
var presignedWith = []string{
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token", "X-Amz-Content-Sha256",
}

// hoisted are the headers, besides S3's own, that a query may carry: some signers
// put them there.
var hoisted = []string{
	"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Md5", "Content-Type",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since", "Range",
}

// signatureForm is where the signature of a request is.
type signatureForm uint8

const (
	inHeader signatureForm = iota
	inQuery
	inVersion2
)

// hoist gives the handler the headers that a query carries, and refuses what it
// could not tell the handler: a caller may rely on any of them. What makes the
// signature has been acted on; in another spelling, or beside another form of
// signature, nobody has.
func hoist(r *http.Request, form signatureForm) *Error {
	for name, values := range r.URL.Query() {
		header := http.CanonicalHeaderKey(name)
		signing := slices.ContainsFunc(presignedWith, func(p string) bool { return strings.EqualFold(p, name) })
		switch {
		case form == inQuery && slices.Contains(presignedWith, name),
			form == inVersion2 && header == "X-Amz-Security-Token",
			!strings.HasPrefix(header, "X-Amz-") && !slices.Contains(hoisted, header):
			continue
		case signing && (form == inQuery || header != "X-Amz-Content-Sha256"):
			return fail(reasonPayload, "The parameter "+clip(name)+" means nothing in this form of signature.")
		}
		sent, there := r.Header[header]
		if len(values) != 1 || strings.ContainsAny(values[0], "\r\n\x00") || there && sent[0] != values[0] {
			return fail(reasonPayload, "The parameter "+clip(name)+" must be given once.")
		}
		r.Header.Set(name, values[0])
	}
	return nil
}

// chunkChain is what a chunk's signature is computed from besides the chunk.
type chunkChain struct {
	key      *signingKey
	head     string // date and scope, a line each
	previous string // the signature before: the head's, then each chunk's
}

// emptyHash is the hex SHA-256 of nothing.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// next returns the signature of a chunk with the given digest.
func (c *chunkChain) next(sum []byte) string {
	return c.seal("AWS4-HMAC-SHA256-PAYLOAD\n"+c.head+c.previous+"\n"+emptyHash+"\n", sum)
}

// trailer returns the signature of the trailing headers.
func (c *chunkChain) trailer(text string) string {
	sum := sha256.Sum256([]byte(text))
	return c.seal("AWS4-HMAC-SHA256-TRAILER\n"+c.head+c.previous+"\n", sum[:])
}

func (c *chunkChain) seal(text string, sum []byte) string {
	var h [64]byte
	hexInto(h[:], sum)
	m := c.key.sign([]byte(text + string(h[:])))
	hexInto(h[:], m[:])
	c.previous = string(h[:])
	return c.previous
}

// IsV2 reports whether a request is presigned in Version 2's form, which
// boto3 uses for presigned URLs on a custom endpoint unless told otherwise.
func IsV2(r *http.Request) bool {
	q := r.URL.Query()
	return q.Has("AWSAccessKeyId") && q.Has("Signature")
}

// subresources are the parameters that Version 2 signs.
const subresources = " accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging " +
	"metrics notification object-lock" +
	" partNumber policy replication requestPayment restore select select-type storageClass tagging torrent uploadId " +
	"uploads versionId versioning" +
	" versions website response-cache-control response-content-disposition response-content-encoding " +
	"response-content-language" +
	" response-content-type response-expires "

// unsignedInV2 are the parameters that Version 2 leaves unsigned and that choose
// no operation: pages of listings, what signs, and what SDKs say of themselves.
const unsignedInV2 = " awsaccesskeyid signature expires x-id content-md5 content-type prefix delimiter encoding-type " +
	"list-type marker max-keys start-after continuation-token fetch-owner key-marker version-id-marker " +
	"upload-id-marker max-uploads max-parts part-number-marker max-buckets bucket-region "

// checkSignedByV2 refuses parameters that Version 2 does not know: with one more
// of them a signed request would be another.
func (sc *scratch) checkSignedByV2() *Error {
	for _, p := range sc.pairs {
		name := unescape(sc.nameOf(p))
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") && !strings.Contains(subresources, " "+name+" ") &&
			!strings.Contains(unsignedInV2, " "+lower+" ") {
			return fail(reasonV2, "The parameter "+clip(name)+" cannot be signed in Signature Version 2.")
		}
	}
	return nil
}

func (v *Verifier) verifyV2(r *http.Request, sc *scratch, now time.Time) (Identity, *Error) {
	if e := sc.normaliseQuery(r.URL.RawQuery); e != nil {
		return Identity{}, e
	}
	keyID, n1 := sc.value("AWSAccessKeyId")
	signature, n2 := sc.value("Signature")
	expires, n3 := sc.value("Expires")
	if _, ok := r.Header["Authorization"]; ok || sc.has("X-Amz-Algorithm") || sc.has("X-Amz-Signature") {
		return Identity{}, fail(reasonTwice, "")
	}
	if n1 != 1 || n2 != 1 || n3 != 1 {
		return Identity{}, fail(
			reasonV2, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
		)
	}
	end, err := strconv.ParseInt(expires, 10, 64)
	if err != nil {
		return Identity{}, fail(reasonV2, "Invalid date (should be seconds since epoch): "+clip(expires))
	}
	most := cmp.Or(v.LongestPresigned, longestExpiry)
	switch {
	case now.Unix() >= end:
		return Identity{}, fail(reasonExpiredURL, "Request has expired")
	case end-now.Unix() > int64((most+skewS3)/time.Second): // the signer's clock may be fast
		return Identity{}, fail(reasonV2, fmt.Sprintf("Expires must be less than %s from now.", most))
	}
	if e := sc.checkSignedByV2(); e != nil {
		return Identity{}, e
	}
	headers, token := amzHeaders(r)
	key, e := v.find(keyID, token, now)
	if e != nil {
		return Identity{}, e
	}
	text := r.Method + "\n" + headerOrParam(r, "content-md5") + "\n" + headerOrParam(r, "content-type") + "\n" +
		expires + "\n" +
		headers + resource(r)
	// A '+' that the URL's writer forgot to encode reads as a space.
	if !equal(macV2(key.Secret, text), strings.ReplaceAll(signature, " ", "+")) {
		return Identity{}, fail(reasonSignature, "")
	}
	return Identity{
		AccessKeyID: key.ID, ARN: key.ARN, UserID: key.UserID, Service: serviceS3, Signed: now, Session: key.Session,
	}, nil
}

func headerOrParam(r *http.Request, name string) string {
	if v := r.Header.Get(name); v != "" {
		return v
	}
	for k, v := range r.URL.Query() {
		if strings.EqualFold(k, name) && len(v) == 1 {
			return v[0]
		}
	}
	return ""
}

// resource is the path as sent and those parameters that Version 2 signs.
func resource(r *http.Request) string {
	var b strings.Builder
	// The host is not signed: a bucket that it names has to be.
	if bucket := awshost.Bucket(r.Host); bucket != "" && objects.CheckBucketName(bucket) == nil {
		b.WriteString("/" + bucket)
	}
	b.WriteString(FromHTTP(r).Path())
	q := r.URL.Query()
	sep := byte('?')
	for _, name := range sortedKeys(q) {
		if !strings.Contains(subresources, " "+name+" ") {
			continue
		}
		for _, value := range q[name] {
			b.WriteByte(sep)
			b.WriteString(name)
			if value != "" || strings.Contains("&"+r.URL.RawQuery+"&", "&"+url.QueryEscape(name)+"=&") {
				b.WriteString("=" + value)
			}
			sep = '&'
		}
	}
	return b.String()
}
