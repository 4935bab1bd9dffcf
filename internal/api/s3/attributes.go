package s3

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

type attributesResult struct {
	XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
	ETag         string   `xml:",omitempty"` // without quotes, here alone
	Checksum     *checksumXML
	ObjectParts  *partsXML
	StorageClass string `xml:",omitempty"`
	ObjectSize   *int64
}

type checksumXML struct {
	sums
	ChecksumType string
}

type partsXML struct {
	PartsCount int
	*partsPage
}

type partsPage struct {
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Part                 []attributePart
}

type attributePart struct {
	sums
	PartNumber int
	Size       int64
}

// getAttributes serves the parts of what is known of an object that are asked for.
func (c *call) getAttributes() error {
	asked := strings.Split(c.r.Header.Get("X-Amz-Object-Attributes"), ",")
	for i := range asked {
		asked[i] = strings.TrimSpace(asked[i])
		switch asked[i] {
		case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
		case "":
			return invalid(
				"InvalidRequest",
				"The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
			)
		default:
			return argument("x-amz-object-attributes", asked[i], "Invalid attribute name specified.")
		}
	}
	o, err := c.store.Stat(c.r.Context(), c.bucket, c.key)
	if err != nil {
		return err
	}
	var out attributesResult
	if slices.Contains(asked, "ETag") {
		out.ETag = o.ETag
	}
	if slices.Contains(asked, "Checksum") && o.Algorithm != "" {
		sum, _, _ := strings.Cut(o.Checksum, "-") // without the number of parts, here alone
		out.Checksum = &checksumXML{sumsOf(o.Algorithm, sum), o.ChecksumType}
	}
	if slices.Contains(asked, "ObjectParts") && len(o.Parts) > 0 {
		if out.ObjectParts, err = c.partsOf(o); err != nil {
			return err
		}
	}
	if slices.Contains(asked, "StorageClass") {
		out.StorageClass = classOf(o.Header)
	}
	if slices.Contains(asked, "ObjectSize") {
		out.ObjectSize = &o.Size
	}
	c.w.Header().Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	return c.w.xml(http.StatusOK, out)
}

// partsOf returns a page of the parts that an object is made of: as on S3, of one with
// a checksum of its parts' checksums each, and of any other their number alone.
func (c *call) partsOf(o objects.Info) (*partsXML, error) {
	after, err := c.headerCount("X-Amz-Part-Number-Marker", 0)
	if err != nil {
		return nil, err
	}
	limit, err := c.headerCount("X-Amz-Max-Parts", 1000)
	if err != nil {
		return nil, err
	}
	out := &partsXML{PartsCount: len(o.Parts)}
	if o.ChecksumType != objects.Composite {
		return out, nil
	}
	page := &partsPage{PartNumberMarker: after, MaxParts: min(limit, 1000)}
	out.partsPage = page
	for i, size := range o.Parts {
		number := i + 1
		if o.PartNumbers != nil {
			number = o.PartNumbers[i]
		}
		switch {
		case number <= after:
		case len(page.Part) == page.MaxParts:
			page.IsTruncated = page.MaxParts > 0 // or nobody would ever see the end
			return out, nil
		default:
			part := attributePart{PartNumber: number, Size: size}
			if i < len(o.PartChecksums) {
				part.sums = sumsOf(o.Algorithm, o.PartChecksums[i])
			}
			page.Part = append(page.Part, part)
			page.NextPartNumberMarker = number
		}
	}
	return out, nil
}

func (c *call) headerCount(name string, absent int) (int, error) {
	text := c.r.Header.Get(name)
	n, err := strconv.Atoi(cmp.Or(text, strconv.Itoa(absent)))
	if err != nil || n < 0 {
		return 0, argument(strings.ToLower(name), text, "The value must be an integer that is not negative")
	}
	return n, nil
}
