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
	id := c.query.Get("uploadId")
	u, err := c.store.Upload(c.r.Context(), c.bucket, c.key, id)
	if err != nil {
		return err
	}
	if sent != "" && u.Algorithm != "" && sent != u.Algorithm {
		return mismatch(u.Algorithm, sent)
	}
	p, err := c.store.PutPart(c.r.Context(), c.bucket, c.key, id, n, c.r.Body)
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
	if text := c.r.Header.Get("X-Amz-Copy-Source-Range"); text != "" {
		s, err = rangeOf(text, o.Info.Size)
		first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
		if err != nil || s == nil || !ok || first == "" || last == "" {
			return argument(
				"x-amz-copy-source-range", text,
				"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "+
					"zero-based offsets of the first and last bytes to copy",
			)
		}
		if end, err := strconv.ParseInt(last, 10, 64); err != nil || end >= o.Info.Size {
			return argument(
				"x-amz-copy-source-range", text,
				"Range specified is not valid for source object of size: "+strconv.FormatInt(o.Info.Size, 10),
			)
		}
	}
	if s.n > objects.MaxPut {
		return sourceTooLarge()
	}
	id := c.query.Get("uploadId")
	u, err := c.store.Upload(c.r.Context(), c.bucket, c.key, id)
	if err != nil {
		return err
	}
	p, err := c.store.PutPart(c.r.Context(), c.bucket, c.key, id, n, io.NewSectionReader(o, s.off, s.n))
	if err != nil {
		return err
	}
	c.echoEncryption(u.Header)
	return c.w.xml(http.StatusOK, copyPartResult{
		LastModified: timestamp(p.Modified), ETag: quote(p.ETag), sums: sumsOf(u.Algorithm, p.Checksum),
	})
}

type partXML struct {
	PartNumber   int
	LastModified timestamp
	ETag         string
	Size         int64
	sums
}

type listPartsResult struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Parts                []partXML `xml:"Part"`
	Initiator            *owner
	Owner                *owner
	StorageClass         string
	ChecksumAlgorithm    string `xml:",omitempty"`
	ChecksumType         string `xml:",omitempty"`
}

func (c *call) listParts() error {
	after, err := c.count("part-number-marker", 0, objects.MaxParts)
	if err != nil {
		return err
	}
	limit, err := c.count("max-parts", 1000, 1000)
	if err != nil {
		return err
	}
	id := c.query.Get("uploadId")
	u, err := c.store.Upload(c.r.Context(), c.bucket, c.key, id)
	if err != nil {
		return err
	}
	parts, more, err := c.store.Parts(c.r.Context(), c.bucket, c.key, id, after, limit)
	if err != nil {
		return err
	}
	out := listPartsResult{
		Bucket: c.bucket, Key: c.key, UploadID: id, PartNumberMarker: after, MaxParts: limit, IsTruncated: more,
		Initiator: c.owner(), Owner: c.owner(),
		StorageClass: classOf(u.Header), ChecksumAlgorithm: string(u.Algorithm), ChecksumType: u.ChecksumType,
	}
	for _, p := range parts {
		out.Parts = append(
			out.Parts, partXML{p.Number, timestamp(p.Modified), quote(p.ETag), p.Size, sumsOf(u.Algorithm, p.Checksum)},
		)
		out.NextPartNumberMarker = p.Number
	}
	return c.w.xml(http.StatusOK, out)
}

type uploadXML struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	Initiator         *owner
	Owner             *owner
	StorageClass      string
	Initiated         timestamp
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

type listUploadsResult struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string
	Delimiter          string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Uploads            []uploadXML `xml:"Upload"`
	CommonPrefixes     []commonPrefix
}

func (c *call) listUploads() error {
	limit, err := c.count("max-uploads", 1000, 1000)
	if err != nil {
		return err
	}
	all, err := c.store.Uploads(c.r.Context(), c.bucket, c.query.Get("prefix"))
	if err != nil {
		return err
	}
	encode, err := c.encoding()
	if err != nil {
		return err
	}
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	key, id := c.query.Get("key-marker"), c.query.Get("upload-id-marker")
	out := listUploadsResult{
		Bucket: c.bucket, KeyMarker: encode(key), UploadIDMarker: id, Prefix: encode(prefix),
		Delimiter: encode(delimiter), EncodingType: c.query.Get("encoding-type"), MaxUploads: limit,
	}
	rolledUp := ""
	for _, u := range all {
		rest, _, found := strings.Cut(u.Key[len(prefix):], delimiter)
		common := prefix + rest + delimiter
		rolls := found && delimiter != ""
		if u.Key < key || u.Key == key && (id == "" || u.ID <= id) && key != "" ||
			rolls && (common == rolledUp || common == key) {
			continue
		}
		if len(out.Uploads)+len(out.CommonPrefixes) == limit {
			out.IsTruncated = true
			break
		}
		if rolls {
			rolledUp = common
			out.NextKeyMarker, out.NextUploadIDMarker = encode(common), ""
			out.CommonPrefixes = append(out.CommonPrefixes, commonPrefix{encode(common)})
			continue
		}
		out.NextKeyMarker, out.NextUploadIDMarker = encode(u.Key), u.ID
		out.Uploads = append(out.Uploads, uploadXML{
			encode(u.Key), u.ID, c.owner(), c.owner(), classOf(u.Header), timestamp(u.Begun), string(u.Algorithm),
			u.ChecksumType,
		})
	}
	return c.w.xml(http.StatusOK, out)
}

func (c *call) abortUpload() error {
	u, err := c.store.Upload(c.r.Context(), c.bucket, c.key, c.query.Get("uploadId"))
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
	if err := c.store.Abort(c.r.Context(), c.bucket, c.key, c.query.Get("uploadId")); err != nil {
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
	if err := c.decode(&in, true); err != nil {
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
	for _, p := range in.Parts {
		for _, o := range p.Other { // a checksum that nobody here can compute
			if strings.HasPrefix(o.XMLName.Local, "Checksum") {
				return notImplemented("The checksum of a part in " + o.XMLName.Local)
			}
		}
		part := objects.Part{Number: p.PartNumber, ETag: unquote(p.ETag)}
		if part.Algorithm, part.Checksum, err = p.only(u.Algorithm); err != nil {
			return err
		}
		done.Parts = append(done.Parts, part)
	}
	if len(done.Parts) == 0 {
		return invalid(
			"MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema",
		)
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
