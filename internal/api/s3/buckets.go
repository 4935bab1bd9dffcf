package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// timestamp is how S3 writes a time in XML.
type timestamp time.Time

// MarshalText writes milliseconds and a Z.
func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z"), nil
}

type owner struct {
	ID          string `xml:"ID"`
	DisplayName string `xml:"DisplayName"`
}

func (c *call) owner() *owner {
	who, _ := access.From(c.r.Context()) // serve made sure
	return &owner{ID: who.Account, DisplayName: who.Account}
}

type bucketXML struct {
	Name         string
	CreationDate timestamp
}

type listBucketsResult struct {
	XMLName           xml.Name    `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
	Owner             *owner      `xml:"Owner"`
	Buckets           []bucketXML `xml:"Buckets>Bucket"`
	Prefix            string      `xml:"Prefix,omitempty"`
	ContinuationToken string      `xml:"ContinuationToken,omitempty"`
}

func (c *call) listBuckets() error {
	limit, err := c.count("max-buckets", 10000, 10000)
	if err != nil {
		return err
	}
	all, err := c.store.Buckets(c.r.Context())
	if err != nil {
		return err
	}
	after, err := c.token()
	if err != nil {
		return err
	}
	out := listBucketsResult{Owner: c.owner(), Prefix: c.query.Get("prefix")}
	for _, b := range all {
		if !strings.HasPrefix(b.Name, out.Prefix) || b.Name <= after {
			continue
		}
		if len(out.Buckets) == limit {
			out.ContinuationToken = tokenOf(out.Buckets[limit-1].Name)
			break
		}
		out.Buckets = append(out.Buckets, bucketXML{b.Name, timestamp(b.Created)})
	}
	return c.w.xml(http.StatusOK, out)
}

func (c *call) createBucket() error {
	if err := checkBucketName(c.bucket); err != nil {
		return err
	}
	if strings.EqualFold(c.r.Header.Get("X-Amz-Bucket-Object-Lock-Enabled"), "true") {
		return notImplemented("Object Lock")
	}
	if err := c.checkACL(); err != nil {
		return err
	}
	var in struct {
		XMLName  xml.Name `xml:"CreateBucketConfiguration"`
		Location string   `xml:"LocationConstraint"` // any: Slipway is in one place
	}
	if err := c.decode(&in, false); err != nil {
		return err
	}
	err := c.store.CreateBucket(c.r.Context(), c.bucket)
	who, _ := access.From(c.r.Context())                           // serve made sure
	if errors.Is(err, fault.Exists) && who.Region == "us-east-1" { // as there
		err = nil
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	return c.w.empty(http.StatusOK)
}

func (c *call) headBucket() error {
	if _, err := c.store.HeadBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	who, _ := access.From(c.r.Context()) // serve made sure
	// A bucket is wherever it is looked for.
	c.w.Header().Set("x-amz-bucket-region", who.Region)
	return c.w.empty(http.StatusOK)
}

func (c *call) deleteBucket() error {
	if err := c.store.DeleteBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

func (c *call) getBucketLocation() error {
	if _, err := c.store.HeadBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	return c.w.xml(http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
	}{}) // empty: us-east-1, where S3 keeps those that said nothing
}

// getBucketVersioning answers that versioning was never enabled.
func (c *call) getBucketVersioning() error {
	if _, err := c.store.HeadBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	return c.w.xml(http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ VersioningConfiguration"`
	}{})
}

// count reads a number from the query; most bounds it.
func (c *call) count(name string, absent, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, invalid("InvalidArgument", "Provided "+name+" not an integer or within integer range")
	}
	if n < 0 {
		return 0, invalid("InvalidArgument", "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return min(int(n), most), nil
}
