package s3

import (
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

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
	u, err := c.upload()
	if err != nil {
		return err
	}
	parts, more, err := c.store.Parts(c.r.Context(), c.bucket, c.key, u.ID, after, limit)
	if err != nil {
		return err
	}
	out := listPartsResult{
		Bucket: c.bucket, Key: c.key, UploadID: u.ID, PartNumberMarker: after, MaxParts: limit,
		IsTruncated: more && limit > 0,
		Initiator:   c.owner(), Owner: c.owner(),
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
	Key               text
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
	KeyMarker          text
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      text
	NextUploadIDMarker string `xml:"NextUploadIdMarker"`
	Prefix             text
	Delimiter          text   `xml:",omitempty"`
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
	if limit == 0 {
		return argument("max-uploads", "0", "Argument max-uploads must be an integer between 1 and 2147483647")
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
	at, err := c.uploadMarker()
	if err != nil {
		return err
	}
	out := listUploadsResult{
		Bucket: c.bucket, KeyMarker: encode(at.Key), UploadIDMarker: at.ID, Prefix: encode(prefix),
		Delimiter: encode(delimiter), EncodingType: c.query.Get("encoding-type"), MaxUploads: limit,
	}
	rolledUp := ""
	for _, u := range all {
		rest, _, found := strings.Cut(u.Key[len(prefix):], delimiter)
		common := prefix + rest + delimiter
		rolls := found && delimiter != ""
		passed := u.Compare(at) <= 0 || at.ID == "" && at.Key != "" && u.Key == at.Key
		if passed || rolls && (common == rolledUp || common == at.Key) {
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

// uploadMarker reads where a page of uploads begins: after an upload of a key,
// which may have ended since, or after all of the key's, where it has no ID. An upload
// without a key says nothing, as on S3; one of another key is refused.
func (c *call) uploadMarker() (at objects.Upload, err error) {
	key, id := c.query.Get("key-marker"), c.query.Get("upload-id-marker")
	if key == "" || id == "" {
		return objects.Upload{Key: key}, nil
	}
	if at, err = c.store.UploadAt(c.r.Context(), c.bucket, id); err != nil {
		return at, err
	}
	if at.Key != "" && at.Key != key {
		return at, argument("upload-id-marker", id, "Invalid uploadId marker")
	}
	at.Key = key
	return at, nil
}
