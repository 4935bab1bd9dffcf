package s3

import (
	"cmp"
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

// sums are a checksum's places in an answer.
type sums struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumSHA512    string `xml:",omitempty"`
	ChecksumMD5       string `xml:",omitempty"`
}

// place returns where the checksum of an algorithm stands.
func (s *sums) place(a checksum.Algorithm) *string {
	switch a {
	case checksum.CRC32:
		return &s.ChecksumCRC32
	case checksum.CRC32C:
		return &s.ChecksumCRC32C
	case checksum.CRC64NVME:
		return &s.ChecksumCRC64NVME
	case checksum.SHA1:
		return &s.ChecksumSHA1
	case checksum.SHA256:
		return &s.ChecksumSHA256
	case checksum.SHA512:
		return &s.ChecksumSHA512
	case checksum.MD5:
		return &s.ChecksumMD5
	}
	return new(string)
}

func sumsOf(a checksum.Algorithm, sum string) (s sums) {
	*s.place(a) = sum
	return s
}

// only returns the one checksum there is, with its algorithm unless that is own.
func (s *sums) only(own checksum.Algorithm) (a checksum.Algorithm, sum string, err error) {
	for _, each := range checksum.All() {
		v := *s.place(each)
		switch {
		case v == "":
		case sum != "":
			return "", "", invalid(
				"InvalidRequest", "Expecting a single checksum of a part. Multiple checksum Types are not allowed.",
			)
		default:
			a, sum = each, v
		}
	}
	if a == own {
		a = ""
	}
	return a, sum, nil
}

type createUploadResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

func (c *call) createUpload() error {
	if err := c.checkACL(); err != nil {
		return err
	}
	u := objects.Upload{Key: c.key}
	var err error
	if u.Header, err = c.metadata(); err != nil {
		return err
	}
	if err := c.placement(u.Header); err != nil {
		return err
	}
	if u.Tags, err = tagsOf(c.r.Header.Get("X-Amz-Tagging")); err != nil {
		return err
	}
	if u.Algorithm, err = namedAlgorithm(c.r.Header.Get("X-Amz-Checksum-Algorithm")); err != nil {
		return err
	}
	if u.ChecksumType, err = checksumType(u.Algorithm, c.r.Header.Get("X-Amz-Checksum-Type")); err != nil {
		return err
	}
	id, err := c.store.Begin(c.r.Context(), c.bucket, u)
	if err != nil {
		return err
	}
	if u.Algorithm != "" {
		c.w.Header().Set("x-amz-checksum-algorithm", string(u.Algorithm))
		c.w.Header().Set("x-amz-checksum-type", u.ChecksumType)
	}
	c.echoEncryption(u.Header)
	return c.w.xml(http.StatusOK, createUploadResult{Bucket: c.bucket, Key: c.key, UploadID: id})
}

// checksumType says what a multipart object's checksum is over: S3's defaults
// and S3's limits.
func checksumType(a checksum.Algorithm, asked string) (string, error) {
	switch {
	case a == "" && asked != "":
		return "", invalid(
			"InvalidRequest",
			"The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
		)
	case a == "":
		return "", nil
	case asked == "" && a.Composite():
		return objects.Composite, nil
	case asked == "":
		return objects.FullObject, nil
	case asked == objects.FullObject && a.FullObject(), asked == objects.Composite && a.Composite():
		return asked, nil
	case asked != objects.FullObject && asked != objects.Composite:
		return "", invalid("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
	}
	return "", invalid(
		"InvalidRequest",
		"The "+asked+" checksum type cannot be used with the "+strings.ToLower(string(a))+" checksum algorithm.",
	)
}

// upload returns the upload under way that the request is about.
func (c *call) upload() (objects.Upload, error) {
	return c.store.Upload(c.r.Context(), c.bucket, c.key, c.query.Get("uploadId"))
}

func (c *call) partNumber() (int, error) {
	text := c.query.Get("partNumber")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > objects.MaxParts {
		return 0, argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func (c *call) uploadPart() error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	if err := c.checkSize(); err != nil {
		return err
	}
	sent, err := algorithmOf(c.r.Header)
	if err != nil {
		return err
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	if sent != "" && u.Algorithm != "" && sent != u.Algorithm {
		return mismatch(u.Algorithm, sent)
	}
	p, err := c.store.PutPart(c.r.Context(), c.bucket, c.key, u.ID, n, c.r.Body)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", quote(p.ETag))
	if u.Algorithm != "" {
		c.w.Header().Set(u.Algorithm.Header(), p.Checksum)
	}
	c.echoEncryption(u.Header)
	return c.w.empty(http.StatusOK)
}

// copyRange reads which bytes of an object of that size are to be copied.
func copyRange(text string, size int64) (*span, error) {
	s, err := rangeOf(text, size)
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	switch {
	case ok && first != "" && last != "" && err != nil:
		return nil, invalid("InvalidRequest", "The specified copy range is invalid for the source object size")
	case err != nil || s == nil || !ok || first == "" || last == "":
		return nil, argument(
			"x-amz-copy-source-range", text,
			"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "+
				"zero-based offsets of the first and last bytes to copy",
		)
	}
	if end, err := strconv.ParseInt(last, 10, 64); err != nil || end >= size {
		return nil, argument(
			"x-amz-copy-source-range", text,
			"Range specified is not valid for source object of size: "+strconv.FormatInt(size, 10),
		)
	}
	return s, nil
}

type copyPartResult struct {
	XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyPartResult"`
	LastModified timestamp
	ETag         string
	sums
}

func (c *call) uploadPartCopy() error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	o, _, _, err := c.source()
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // it is only read
	s := &span{0, o.Info.Size}
	if text, given := c.r.Header["X-Amz-Copy-Source-Range"]; given {
		if s, err = copyRange(text[0], o.Info.Size); err != nil {
			return err
		}
	}
	if s.n > objects.MaxPut {
		return sourceTooLarge()
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	p, err := c.store.PutPart(c.r.Context(), c.bucket, c.key, u.ID, n, io.NewSectionReader(o, s.off, s.n))
	if err != nil {
		return err
	}
	c.echoEncryption(u.Header)
	return c.w.xml(http.StatusOK, copyPartResult{
		LastModified: timestamp(p.Modified), ETag: quote(p.ETag), sums: sumsOf(u.Algorithm, p.Checksum),
	})
}

func (c *call) abortUpload() error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	if text := c.r.Header.Get("X-Amz-If-Match-Initiated-Time"); text != "" {
		t, err := http.ParseTime(text)
		if err != nil {
			return argument("x-amz-if-match-initiated-time", text, "Bad date value in condition")
		}
		if !t.Equal(u.Begun.Truncate(time.Second)) {
			return preconditionFailed("x-amz-if-match-initiated-time", http.StatusPreconditionFailed)
		}
	}
	if err := c.store.Abort(c.r.Context(), c.bucket, c.key, u.ID); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

// objectChecksum reads the checksum that the whole object is to have, which can
// be compared with that of the upload's algorithm alone.
func (c *call) objectChecksum(of checksum.Algorithm) (sum string, err error) {
	for name := range c.r.Header {
		switch a, is, _ := checksum.FromHeader(name); {
		case is && (a != of || of == ""):
			return "", mismatch(of, a)
		case is:
			sum = c.r.Header.Get(name)
		}
	}
	return sum, nil
}

func mismatch(want, got checksum.Algorithm) error {
	return invalid(
		"InvalidRequest",
		"Checksum Type mismatch occurred, expected checksum Type: "+
			cmp.Or(strings.ToLower(string(want)), "null")+", actual checksum Type: "+strings.ToLower(string(got)),
	)
}

type completeRequest struct {
	XMLName xml.Name `xml:"CompleteMultipartUpload"`
	Parts   []struct {
		PartNumber int
		ETag       string
		sums
		Other []struct{ XMLName xml.Name } `xml:",any"`
	} `xml:"Part"`
}

// parts returns the parts that an upload is to be completed with.
func (in *completeRequest) parts(u objects.Upload) (parts []objects.Part, err error) {
	for _, p := range in.Parts {
		for _, o := range p.Other { // a checksum that nobody here can compute
			if strings.HasPrefix(o.XMLName.Local, "Checksum") {
				return nil, notImplemented("The checksum of a part in " + o.XMLName.Local)
			}
		}
		part := objects.Part{Number: p.PartNumber, ETag: unquote(p.ETag)}
		if part.Algorithm, part.Checksum, err = p.only(u.Algorithm); err != nil {
			return nil, err
		}
		if part.Checksum == "" && u.ChecksumType == objects.Composite {
			return nil, invalid(
				"InvalidRequest",
				"The upload was created using a "+strings.ToLower(string(u.Algorithm))+" checksum. "+
					"The complete request must include the checksum for each part. "+
					"It was missing for part "+strconv.Itoa(p.PartNumber)+" in the request.",
			)
		}
		parts = append(parts, part)
	}
	switch {
	case in.XMLName.Local == "": // there is no document
		return nil, invalid("InvalidRequest", "You must specify at least one part")
	case len(parts) == 0:
		return nil, malformedXML()
	}
	return parts, nil
}

type completeResult struct {
	XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location     string
	Bucket       string
	Key          string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	sums
}

func (c *call) completeUpload() error {
	var in completeRequest
	if err := c.decode(&in, false); err != nil {
		return err
	}
	id := c.query.Get("uploadId")
	u, err := c.store.Completing(c.r.Context(), c.bucket, c.key, id)
	if err != nil {
		return err
	}
	if asked := c.r.Header.Get("X-Amz-Checksum-Type"); asked != "" && asked != u.ChecksumType {
		return invalid(
			"InvalidRequest",
			"The upload was created using the "+u.ChecksumType+
				" checksum mode. The complete request must use the same checksum mode.",
		)
	}
	done := objects.Complete{Size: -1}
	if text := c.r.Header.Get("X-Amz-Mp-Object-Size"); text != "" {
		if done.Size, err = strconv.ParseInt(text, 10, 64); err != nil || done.Size < 0 {
			return invalid("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
		}
	}
	if done.If, err = c.condition(); err != nil {
		return err
	}
	if done.Checksum, err = c.objectChecksum(u.Algorithm); err != nil {
		return err
	}
	if done.Parts, err = in.parts(u); err != nil {
		return err
	}
	i, err := c.store.Complete(c.r.Context(), c.bucket, c.key, id, done)
	if err != nil {
		return err
	}
	c.echoEncryption(i.Header)
	return c.w.xml(http.StatusOK, completeResult{
		Location: c.url(), Bucket: c.bucket, Key: c.key,
		ETag:         quote(i.ETag),
		ChecksumType: i.ChecksumType, sums: sumsOf(i.Algorithm, i.Checksum),
	})
}
