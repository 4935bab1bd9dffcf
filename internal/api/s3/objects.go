package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// checkSize refuses a body of unknown length and one that is too large, before
// any of it is read.
func (c *call) checkSize() error {
	size := c.r.ContentLength
	if p, ok := c.r.Body.(*sigv4.Payload); ok {
		size = p.Size()
	}
	switch {
	case size < 0:
		return &apiError{
			status: http.StatusLengthRequired, code: "MissingContentLength",
			message: "You must provide the Content-Length HTTP header.",
		}
	case size > objects.MaxPut:
		return invalid("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	return nil
}

func (c *call) putObject() error {
	if err := c.checkSize(); err != nil {
		return err
	}
	if err := c.checkACL(); err != nil {
		return err
	}
	var p objects.Put
	var err error
	if p.Header, err = c.metadata(); err != nil {
		return err
	}
	if err := c.placement(p.Header); err != nil {
		return err
	}
	if p.Tags, err = tagsOf(c.r.Header.Get("X-Amz-Tagging")); err != nil {
		return err
	}
	if p.If, err = c.condition(); err != nil {
		return err
	}
	if p.Algorithm, err = algorithmOf(c.r.Header); err != nil {
		return err
	}
	i, err := c.store.Put(c.r.Context(), c.bucket, c.key, c.r.Body, p)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", quote(i.ETag))
	c.checksumHeaders(i)
	c.echoEncryption(i.Header)
	return c.w.empty(http.StatusOK)
}

func (c *call) checksumHeaders(i objects.Info) {
	if i.Algorithm != "" {
		c.w.Header().Set(i.Algorithm.Header(), i.Checksum)
		c.w.Header().Set("x-amz-checksum-type", i.ChecksumType)
	}
}

// overrides are the query parameters that change a header of the answer.
var overrides = map[string]string{
	"response-cache-control": "Cache-Control", "response-content-disposition": "Content-Disposition",
	"response-content-encoding": "Content-Encoding",
	"response-content-language": "Content-Language", "response-content-type": "Content-Type",
	"response-expires": "Expires",
}

// notLatin1 reports what no header can carry.
func notLatin1(r rune) bool { return r > unicode.MaxLatin1 || r == '\r' || r == '\n' || r == 0 }

// getObject serves HeadObject, too.
func (c *call) getObject() error {
	o, err := c.store.Open(c.r.Context(), c.bucket, c.key)
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // it is only read
	h := c.w.Header()
	h.Set("ETag", quote(o.Info.ETag))
	h.Set("Last-Modified", o.Info.Modified.UTC().Format(http.TimeFormat))
	if err := preconditions(c.r.Header, "", o.Info, http.StatusNotModified); err != nil {
		return err
	}
	s, err := c.span(o.Info)
	if err != nil {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", o.Info.Size))
		return err
	}
	for name, v := range o.Info.Header {
		if name == kmsContext { // only who put it hears it
			continue
		}
		if strings.HasPrefix(name, userPrefix) {
			h[name] = []string{v} // clients take a name's case from here, and S3 sends lower
		} else {
			h.Set(name, v)
		}
	}
	for param, name := range overrides {
		switch v := c.query.Get(param); {
		case strings.ContainsFunc(v, notLatin1):
			return argument(param, v, "Header value cannot be represented using ISO-8859-1.")
		case v != "":
			h.Set(name, v)
		}
	}
	h.Set("Accept-Ranges", "bytes")
	if o.Info.Tags != "" {
		h.Set("x-amz-tagging-count", strconv.Itoa(strings.Count(o.Info.Tags, "&")+1))
	}
	status := http.StatusOK
	if s == nil {
		s = &span{0, o.Info.Size}
		if strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
			c.checksumHeaders(o.Info)
		}
	} else {
		c.partChecksum(o.Info)
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.off, s.off+s.n-1, o.Info.Size))
	}
	h.Set("Content-Length", strconv.FormatInt(s.n, 10))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodHead {
		return nil
	}
	if err := o.CopyTo(c.w.ResponseWriter, s.off, s.n); err != nil {
		return fmt.Errorf("send object: %w", err)
	}
	return nil
}

// partChecksum tells the checksum of the part that was asked for by its number,
// which S3 has where the object's is made of the parts'.
func (c *call) partChecksum(i objects.Info) {
	n, err := strconv.Atoi(c.query.Get("partNumber")) // span read it
	asked := strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED")
	if err == nil && asked && i.ChecksumType == objects.Composite && n <= len(i.PartChecksums) {
		c.w.Header().Set(i.Algorithm.Header(), i.PartChecksums[n-1])
		c.w.Header().Set("x-amz-checksum-type", i.ChecksumType)
	}
}

// span returns the part of the object that is asked for, nil for all of it.
func (c *call) span(i objects.Info) (*span, error) {
	text := c.query.Get("partNumber")
	if text == "" {
		if is := c.r.Header.Get("If-Range"); is != "" && is != quote(i.ETag) &&
			is != i.Modified.UTC().Format(http.TimeFormat) {
			return nil, nil // the rest of another object
		}
		return rangeOf(c.r.Header.Get("Range"), i.Size)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > objects.MaxParts {
		return nil, argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
	}
	if c.r.Header.Get("Range") != "" {
		return nil, invalid("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
	}
	parts := i.Parts
	if len(parts) == 0 {
		parts = []int64{i.Size}
	} else {
		c.w.Header().Set("x-amz-mp-parts-count", strconv.Itoa(len(parts)))
	}
	if n > len(parts) {
		return nil, &apiError{
			http.StatusRequestedRangeNotSatisfiable, "InvalidPartNumber", "The requested partnumber is not satisfiable",
			[]member{{"PartNumberRequested", text}, {"ActualPartCount", strconv.Itoa(len(parts))}},
		}
	}
	s := span{n: parts[n-1]}
	for _, size := range parts[:n-1] {
		s.off += size
	}
	if s.n == 0 { // there is no range of nothing
		return nil, nil
	}
	return &s, nil
}

func (c *call) deleteObject() error {
	if c.r.Header.Get("X-Amz-Bypass-Governance-Retention") != "" {
		return argument(
			"x-amz-bypass-governance-retention", "",
			"x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
		)
	}
	cond, err := deleteCondition(
		c.r.Header["If-Match"], c.r.Header.Get("X-Amz-If-Match-Last-Modified-Time"),
		c.r.Header.Get("X-Amz-If-Match-Size"),
	)
	if err != nil {
		return err
	}
	if err := c.store.Delete(c.r.Context(), c.bucket, c.key, cond); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

// deleteCondition reads what must hold of an object that is to be deleted.
func deleteCondition(etag []string, modified, size string) (cond objects.Condition, err error) {
	if cond.ETag, err = ifMatch(etag); err != nil {
		return cond, err
	}
	if modified != "" {
		t, err := http.ParseTime(modified)
		if err != nil { // in XML
			t, err = time.Parse(time.RFC3339, modified)
		}
		if err != nil {
			return cond, argument("x-amz-if-match-last-modified-time", modified, "Bad date value in condition")
		}
		cond.Modified = t.Truncate(time.Second)
	}
	if size != "" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return cond, argument("x-amz-if-match-size", size, "The size must be an integer")
		}
		cond.Size = &n
	}
	return cond, nil
}

// source opens what x-amz-copy-source names, and checks the conditions on it.
func (c *call) source() (*objects.Object, string, string, error) {
	bucket, key, err := copySource(c.r.Header.Get("X-Amz-Copy-Source"))
	if err != nil {
		return nil, "", "", err
	}
	o, err := c.store.Open(c.r.Context(), bucket, key)
	if err != nil {
		e := answer(err)
		switch e.code {
		case "NoSuchKey":
			e.members = []member{{"Key", key}}
		case "NoSuchBucket":
			e.members = []member{{"BucketName", bucket}}
		}
		return nil, "", "", e
	}
	if err := preconditions(c.r.Header, "X-Amz-Copy-Source-", o.Info, http.StatusPreconditionFailed); err != nil {
		_ = o.Close() // it was only opened
		return nil, "", "", err
	}
	return o, bucket, key, nil
}

// copySource reads which object is to be copied: the bucket and the key, as in a URL.
func copySource(header string) (bucket, key string, err error) {
	text, version, _ := strings.Cut(header, "?versionId=")
	if version != "" && version != "null" {
		return "", "", argument("x-amz-copy-source", version, "Invalid version id specified")
	}
	text, err = url.QueryUnescape(text)
	bucket, key, ok := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	if err != nil || !ok || bucket == "" || key == "" {
		return "", "", argument(
			"x-amz-copy-source", text, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
		)
	}
	return bucket, key, nil
}

type copyResult struct {
	XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyObjectResult"`
	LastModified timestamp
	ETag         string
	ChecksumType string `xml:",omitempty"`
	sums
}

func (c *call) copyObject() error {
	if err := c.checkACL(); err != nil {
		return err
	}
	o, bucket, key, err := c.source()
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // it is only read
	if o.Info.Size > objects.MaxPut {
		return sourceTooLarge()
	}
	to, err := c.copyOf(o.Info, bucket == c.bucket && key == c.key)
	if err != nil {
		return err
	}
	i, err := c.store.Copy(c.r.Context(), o, c.bucket, c.key, to)
	if err != nil {
		return err
	}
	c.echoEncryption(i.Header)
	return c.w.xml(http.StatusOK, copyResult{
		LastModified: timestamp(i.Modified), ETag: quote(i.ETag), ChecksumType: i.ChecksumType,
		sums: sumsOf(i.Algorithm, i.Checksum),
	})
}

func sourceTooLarge() error {
	return invalid(
		"InvalidRequest",
		"The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
	)
}

// copyOf reads what a copy keeps of its source, which is itself or another.
func (c *call) copyOf(from objects.Info, itself bool) (to objects.Copy, err error) {
	to.Header = map[string]string{}
	changes := false
	switch d := c.r.Header.Get("X-Amz-Metadata-Directive"); d {
	case "", "COPY":
		for name, v := range from.Header {
			if !slices.Contains(placements, name) {
				to.Header[name] = v
			}
		}
	case "REPLACE":
		changes = true
		if to.Header, err = c.metadata(); err != nil {
			return to, err
		}
	default:
		return to, argument("x-amz-metadata-directive", d, "Unknown metadata directive.")
	}
	switch d := c.r.Header.Get("X-Amz-Tagging-Directive"); d {
	case "", "COPY":
	case "REPLACE":
		changes = true
		tags, err := tagsOf(c.r.Header.Get("X-Amz-Tagging"))
		if err != nil {
			return to, err
		}
		to.Tags = &tags
	default:
		return to, argument("x-amz-tagging-directive", d, "Unknown tagging directive.")
	}
	for _, name := range placements {
		changes = changes || c.r.Header.Get(name) != ""
	}
	if itself && !changes {
		return to, invalid(
			"InvalidRequest",
			"This copy request is illegal because it is trying to copy an object to itself without changing the "+
				"object's metadata, storage class, website redirect location or encryption attributes.",
		)
	}
	if err := c.placement(to.Header); err != nil {
		return to, err
	}
	if to.Algorithm, err = namedAlgorithm(c.r.Header.Get("X-Amz-Checksum-Algorithm")); err != nil {
		return to, err
	}
	to.If, err = c.condition()
	return to, err
}
