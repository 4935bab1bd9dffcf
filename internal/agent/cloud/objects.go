package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// emptyHash is the SHA-256 of no bytes.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Fetch opens an object from offset on. It returns the size of the whole and
// its ETag. A download that goes on must be one of the same object: a part that
// would not fit to what this client has fetched before is a fault.Conflict, and
// so is an offset beyond the end; the caller begins anew. The body ends with an
// error if the transfer is cut short or stands still.
func (c *Client) Fetch(ctx context.Context, s3url string, offset int64) (
	body io.ReadCloser, size int64, etag string, err error,
) {
	const what = "fetch the package"
	target, err := c.objectURL(s3url)
	if err != nil {
		return nil, 0, "", err
	}
	if offset < 0 {
		return nil, 0, "", &Error{Kind: fault.Invalid, Message: what + ": a negative offset"}
	}
	if offset == 0 {
		c.etags.set(s3url, "")
	}
	known := c.etags.get(s3url)
	resp, err := c.send(ctx, call{
		what: what, service: serviceS3, hash: emptyHash,
		good: func(status int) bool { return status == http.StatusOK || status == http.StatusPartialContent },
		request: func(ctx context.Context) (*http.Request, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
			if err == nil && offset > 0 {
				req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
				if known != "" {
					req.Header.Set("If-Match", known)
				}
			}
			return req, err
		},
	})
	if err != nil {
		if errors.Is(err, fault.Conflict) {
			c.etags.set(s3url, "")
		}
		return nil, 0, "", err
	}
	etag = resp.Header.Get("ETag")
	size, err = extent(resp.Response, offset)
	if err == nil && known != "" && etag != known {
		err = &Error{Kind: fault.Conflict, Status: resp.StatusCode, Message: what + ": the object has become another"}
	}
	if err == nil && resp.StatusCode == http.StatusOK && offset > 0 {
		// The server does not know ranges: the beginning comes once more.
		if _, err = io.CopyN(io.Discard, resp.Body, offset); err != nil {
			err = failure(ctx, what, err)
		}
	}
	if err != nil {
		resp.abandon()
		return nil, 0, "", err
	}
	c.etags.set(s3url, etag)
	return &object{resp}, size, etag, nil
}

// object is the body of an answer; closing it early gives up its connection
// rather than reading the rest.
type object struct{ *answer }

func (o *object) Read(p []byte) (int, error) { return o.Body.Read(p) }

func (o *object) Close() error {
	o.abandon()
	return nil
}

// abandon closes an answer without reading on.
func (r *answer) abandon() {
	_ = r.Body.Close() // nothing is lost with it
	r.dog.end()
}

// extent returns the size of the whole object that r is (a part of).
func extent(r *http.Response, offset int64) (int64, error) {
	wrong := &Error{
		Kind: fault.Unavailable, Status: r.StatusCode,
		Message: "fetch the package: the server does not say what part it sends",
	}
	if r.StatusCode == http.StatusOK {
		if r.ContentLength < offset {
			if r.ContentLength >= 0 {
				wrong = &Error{
					Kind: fault.Conflict, Status: r.StatusCode,
					Message: "fetch the package: the object has become shorter",
				}
			}
			return 0, wrong
		}
		return r.ContentLength, nil
	}
	text, ok := strings.CutPrefix(r.Header.Get("Content-Range"), "bytes ")
	span, whole, ok2 := strings.Cut(text, "/")
	first, last, ok3 := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := strconv.ParseInt(whole, 10, 64)
	if !ok || !ok2 || !ok3 || err1 != nil || err2 != nil || err3 != nil || from != offset || to != size-1 || from > to {
		return 0, wrong
	}
	return size, nil
}

// Bucket is a bucket to put captured data into (spec §7.5).
type Bucket struct {
	client *Client
	name   string
}

// Bucket returns the bucket of a name.
func (c *Client) Bucket(name string) *Bucket { return &Bucket{c, name} }

// Online tells, from memory, whether the last call got an answer.
func (b *Bucket) Online() bool { return b.client.Online() }

// Put stores size bytes of body under key. The body is read twice, first for
// its digest: what arrives is what was read. A server may let devices overwrite
// nothing: that key is taken means that an earlier attempt got through, for keys
// of captured data are not used twice.
func (b *Bucket) Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	const what = "upload captured data"
	c := b.client
	target, err := c.objectURL("s3://" + b.name + "/" + key)
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err := io.CopyN(hash, body, size); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	resp, err := c.send(ctx, call{
		what: what, service: serviceS3, hash: hex.EncodeToString(hash.Sum(nil)), good: isOK,
		request: func(ctx context.Context) (*http.Request, error) {
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			// A body of nothing must be no body, or it is sent in chunks.
			var r io.Reader = http.NoBody
			if size > 0 {
				r = io.LimitReader(body, size)
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, target, r)
			if err == nil {
				req.ContentLength = size
			}
			return req, err
		},
	})
	switch {
	case errors.Is(err, fault.Conflict):
		return nil
	case err != nil:
		return err
	}
	resp.close()
	return nil
}

// objectURL returns where the object s3://bucket/key is served.
func (c *Client) objectURL(s3url string) (string, error) {
	rest, ok := strings.CutPrefix(s3url, "s3://")
	bucket, key, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || bucket == "" || key == "" || bucket == "." || bucket == ".." || len(s3url) > 2048 {
		return "", &Error{Kind: fault.Invalid, Message: fmt.Sprintf("%q is not s3://BUCKET/KEY", short(s3url))}
	}
	return c.cfg.Objects + "/" + escapeKey(bucket) + "/" + escapeKey(key), nil
}

// escapeKey escapes a key as S3 signs it: everything but unreserved characters
// and slashes.
func escapeKey(key string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		switch ch := key[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			strings.IndexByte("-._~/", ch) >= 0:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[ch>>4])
			b.WriteByte(hexDigits[ch&15])
		}
	}
	return b.String()
}
