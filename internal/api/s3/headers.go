package s3

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// kept are the headers that an object keeps besides its user's own.
var kept = []string{
	"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires",
}

const (
	userPrefix  = "x-amz-meta-"
	maxUserMeta = 2 << 10 // bytes of names and values together
)

// metadata returns what an object keeps of a request's headers.
func (c *call) metadata() (map[string]string, error) {
	h := map[string]string{}
	for _, name := range kept {
		if v := c.r.Header.Get(name); v != "" {
			h[name] = v
		}
	}
	if v := h["content-encoding"]; strings.Contains(v, "aws-chunked") { // that of the transfer, not of the object
		var rest []string
		for _, e := range strings.Split(v, ",") {
			if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
				rest = append(rest, e)
			}
		}
		if h["content-encoding"] = strings.Join(rest, ", "); len(rest) == 0 {
			delete(h, "content-encoding")
		}
	}
	if h["content-type"] == "" {
		h["content-type"] = "binary/octet-stream"
	}
	size := 0
	for name, values := range c.r.Header {
		name = strings.ToLower(name)
		if user, ok := strings.CutPrefix(name, userPrefix); ok {
			h[name] = strings.Join(values, ",")
			size += len(user) + len(h[name])
		}
	}
	if size > maxUserMeta {
		return nil, &apiError{
			http.StatusBadRequest, "MetadataTooLarge",
			"Your metadata headers exceed the maximum allowed metadata size",
			[]member{{"Size", strconv.Itoa(size)}, {"MaxSizeAllowed", strconv.Itoa(maxUserMeta)}},
		}
	}
	return h, nil
}

// checkACL accepts what leaves everything to the owner.
func (c *call) checkACL() error {
	canned, grants := c.r.Header.Get("X-Amz-Acl"), false
	for name := range c.r.Header {
		grants = grants || strings.HasPrefix(name, "X-Amz-Grant-")
	}
	switch {
	case canned != "" && grants:
		return invalid("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
	case grants || canned != "" && canned != "private" && canned != "bucket-owner-full-control":
		return invalid("AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	return nil
}

// condition reads what a write wants to hold of the object that is there.
func (c *call) condition() (objects.Condition, error) {
	var cond objects.Condition
	switch none, given := c.r.Header["If-None-Match"]; {
	case !given:
	case none[0] == "*":
		cond.Absent = true
	default:
		return cond, notImplemented("If-None-Match with an ETag on a write")
	}
	var err error
	cond.ETag, err = ifMatch(c.r.Header["If-Match"])
	return cond, err
}

// ifMatch reads the ETag that an object is to have; no object has an empty one.
func ifMatch(header []string) (etag string, err error) {
	if len(header) == 0 {
		return "", nil
	}
	if etag = unquote(header[0]); etag == "" {
		return "", preconditionFailed("If-Match", http.StatusPreconditionFailed)
	}
	return etag, nil
}

// algorithmOf returns the checksum algorithm that a body was sent with.
func algorithmOf(h http.Header) (checksum.Algorithm, error) {
	named, err := namedAlgorithm(h.Get("X-Amz-Sdk-Checksum-Algorithm"))
	if err != nil {
		return "", err
	}
	carriers := strings.Split(h.Get("X-Amz-Trailer"), ",")
	for _, name := range slices.AppendSeq(carriers, maps.Keys(h)) {
		if a, is, known := checksum.FromHeader(strings.TrimSpace(name)); is && known {
			if named != "" && named != a {
				return "", invalid("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
			}
			return a, nil
		}
	}
	return named, nil
}

func namedAlgorithm(name string) (checksum.Algorithm, error) {
	if name == "" {
		return "", nil
	}
	a, ok := checksum.Parse(name)
	switch {
	case ok:
		return a, nil
	case strings.HasPrefix(string(a), "XXHASH"):
		return "", notImplemented("The checksum algorithm " + string(a))
	}
	return "", invalid(
		"InvalidRequest",
		"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, "+
			"CRC64NVME, SHA1, SHA256, SHA512, MD5]",
	)
}

// tagsOf checks tags that a header carries as a query string.
func tagsOf(text string) (string, error) {
	malformed := argument(
		"x-amz-tagging", text,
		"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name "+
			"duplicates.",
	)
	tags, err := url.ParseQuery(text)
	if err != nil {
		return "", malformed
	}
	for k, v := range tags {
		if len(v) != 1 {
			return "", malformed
		}
		if err := checkTag(k, v[0]); err != nil {
			return "", err
		}
	}
	if len(tags) > maxTags {
		return "", invalid("BadRequest", "Object tags cannot be greater than 10")
	}
	return tags.Encode(), nil
}

func preconditionFailed(condition string, status int) error {
	return &apiError{
		status, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold",
		[]member{{"Condition", condition}},
	}
}

// preconditions checks the conditions of a read, and those of a copy on its
// source: prefix is "" or "X-Amz-Copy-Source-". unchanged is what a reader is
// told who has the object already.
func preconditions(h http.Header, prefix string, i objects.Info, unchanged int) error {
	failed := func(condition string) error {
		return preconditionFailed(strings.ToLower(prefix)+condition, http.StatusPreconditionFailed)
	}
	same := func(condition string) error { return preconditionFailed(strings.ToLower(prefix)+condition, unchanged) }
	modified := i.Modified.Truncate(time.Second)
	for _, name := range []string{"If-Unmodified-Since", "If-Modified-Since"} {
		text := h.Get(prefix + name)
		if _, err := http.ParseTime(text); err != nil && text != "" && prefix != "" { // of a read they are ignored
			return argument(strings.ToLower(prefix)+name, text, "Bad date value in condition")
		}
	}
	if match, given := h[prefix+"If-Match"]; given {
		if !matches(match[0], i.ETag) {
			return failed("If-Match")
		}
	} else if t, err := http.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil && modified.After(t) {
		return failed("If-Unmodified-Since")
	}
	if none := h.Get(prefix + "If-None-Match"); none != "" {
		if matches(none, i.ETag) {
			return same("If-None-Match")
		}
	} else if t, err := http.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil && !modified.After(t) {
		return same("If-Modified-Since")
	}
	return nil
}

func matches(list, etag string) bool {
	for _, e := range strings.Split(list, ",") {
		if e = unquote(strings.TrimPrefix(strings.TrimSpace(e), "W/")); e == "*" || e == etag {
			return true
		}
	}
	return false
}

// span is a part of an object, in bytes.
type span struct{ off, n int64 }

// rangeOf reads a Range header. It answers nil for one that is to be ignored:
// S3 serves one range of bytes, and of anything else the whole.
func rangeOf(header string, size int64) (*span, error) {
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, ok2 := strings.Cut(text, "-")
	if !ok || !ok2 || strings.Contains(text, ",") {
		return nil, nil
	}
	unsatisfiable := &apiError{
		http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable",
		[]member{{"RangeRequested", header}, {"ActualObjectSize", strconv.FormatInt(size, 10)}},
	}
	if first == "" { // the last so many
		n, err := strconv.ParseInt(last, 10, 64)
		switch {
		case err != nil || n < 0:
			return nil, nil
		case n == 0 || size == 0:
			return nil, unsatisfiable
		}
		n = min(n, size)
		return &span{size - n, n}, nil
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return nil, nil
	}
	to := size - 1
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < from {
			return nil, nil
		}
		to = min(to, n)
	}
	if from >= size {
		return nil, unsatisfiable
	}
	return &span{from, to - from + 1}, nil
}
