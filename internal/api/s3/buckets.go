package s3

import (
	"cmp"
	"encoding/xml"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects"
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
	BucketRegion string
	BucketArn    string
}

type listBucketsResult struct {
	XMLName           xml.Name    `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
	Owner             *owner      `xml:"Owner"`
	Buckets           []bucketXML `xml:"Buckets>Bucket"`
	Prefix            string      `xml:"Prefix,omitempty"`
	ContinuationToken string      `xml:"ContinuationToken,omitempty"`
}

func (c *call) listBuckets() error {
	limit, err := c.maxBuckets()
	if err != nil {
		return err
	}
	region := c.query.Get("bucket-region")
	if c.query.Has("bucket-region") && !regionName.MatchString(region) {
		return argument("bucket-region", region, "Argument value "+region+" is not a valid AWS Region")
	}
	all, err := c.store.Buckets(c.r.Context())
	if err != nil {
		return err
	}
	after, err := c.token()
	if err != nil {
		return err
	}
	who, _ := access.From(c.r.Context()) // serve made sure
	out := listBucketsResult{Owner: c.owner(), Prefix: c.query.Get("prefix")}
	for _, b := range all {
		if !strings.HasPrefix(b.Name, out.Prefix) || b.Name <= after ||
			region != "" && b.Region != "" && b.Region != region { // one of no region is in each
			continue
		}
		if len(out.Buckets) == limit {
			out.ContinuationToken = tokenOf(out.Buckets[limit-1].Name)
			break
		}
		out.Buckets = append(out.Buckets, bucketXML{
			b.Name, timestamp(b.Created), whereIs(b, who.Region), "arn:aws:s3:::" + b.Name,
		})
	}
	return c.w.xml(http.StatusOK, out)
}

// mostBuckets is how many a page of ListBuckets has, and may have.
const mostBuckets = 10000

func (c *call) maxBuckets() (int, error) {
	text := c.query.Get("max-buckets")
	n, err := c.count("max-buckets", mostBuckets, math.MaxInt32)
	if err == nil && (n < 1 || n > mostBuckets) {
		err = argument("max-buckets", text, "Argument max-buckets must be an integer between 1 and 10000")
	}
	return n, err
}

// whereIs names the region of a bucket; one of no region is wherever it is
// looked for.
func whereIs(b objects.Bucket, asked string) string {
	return cmp.Or(strings.Replace(b.Region, "EU", "eu-west-1", 1), asked)
}

func (c *call) createBucket() error {
	if err := checkBucketName(c.bucket); err != nil {
		return err
	}
	if strings.EqualFold(c.r.Header.Get("X-Amz-Bucket-Object-Lock-Enabled"), "true") {
		return notImplemented("Object Lock")
	}
	if err := c.checkOwnership(); err != nil {
		return err
	}
	if n := c.r.Header.Get("X-Amz-Bucket-Namespace"); n != "" && n != "global" {
		return notImplemented("The bucket namespace " + n)
	}
	if err := c.checkACL(); err != nil {
		return err
	}
	var in struct {
		XMLName  xml.Name `xml:"CreateBucketConfiguration"`
		Region   string   `xml:"LocationConstraint"`
		Location *struct{}
		Bucket   *struct{}
		Tags     []tag `xml:"Tags>Tag"`
	}
	if err := c.decode(&in, false); err != nil {
		return err
	}
	if in.Location != nil || in.Bucket != nil {
		return notImplemented("A directory bucket")
	}
	who, _ := access.From(c.r.Context()) // serve made sure
	b := objects.Bucket{Name: c.bucket, Region: in.Region}
	var err error
	if err = checkLocation(in.Region, who.Region); err != nil {
		return err
	}
	if b.Tags, err = encodeTags(in.Tags); err != nil {
		return err
	}
	err = c.store.CreateBucket(c.r.Context(), b)
	if errors.Is(err, fault.Exists) && who.Region == usEast1 && b.Region == "" && b.Tags == "" {
		// There, the bucket that is meant may be there already; not one elsewhere.
		if there, headErr := c.store.HeadBucket(c.r.Context(), c.bucket); headErr == nil && there.Region == "" {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	return c.w.empty(http.StatusOK)
}

// usEast1 is the region that S3 means if none is named.
const usEast1 = "us-east-1"

// regionName is what a region may be called here, as in the configuration.
var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)*-[0-9]+$`)

// checkLocation refuses the place of a new bucket where S3 refuses it to a caller
// who speaks to that region. Slipway is in one place, which has every name.
func checkLocation(location, region string) error {
	incompatible := func(which string) error {
		return invalid(
			"IllegalLocationConstraintException",
			"The "+which+" location constraint is incompatible for the region specific endpoint this request was sent to.",
		)
	}
	switch {
	case location == "" && region != usEast1:
		return incompatible("unspecified")
	case location == "":
		return nil
	case region != usEast1 && location != region && (location != "EU" || region != "eu-west-1"):
		return incompatible(location)
	case location == usEast1 || location != "EU" && !regionName.MatchString(location):
		return &apiError{
			http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid",
			[]member{{"LocationConstraint", location}},
		}
	}
	return nil
}

// checkOwnership accepts buckets without ACLs, which is what buckets are unless
// their owner wants it otherwise.
func (c *call) checkOwnership() error {
	asked, given := c.r.Header["X-Amz-Object-Ownership"]
	switch {
	case !given || asked[0] == "BucketOwnerEnforced":
		return nil
	case asked[0] == "BucketOwnerPreferred" || asked[0] == "ObjectWriter":
		return notImplemented("The object ownership " + asked[0])
	}
	return argument("x-amz-object-ownership", asked[0], "Invalid x-amz-object-ownership header: "+asked[0])
}

func (c *call) headBucket() error {
	b, err := c.store.HeadBucket(c.r.Context(), c.bucket)
	if err != nil {
		return err
	}
	who, _ := access.From(c.r.Context())                // serve made sure
	c.w.Header().Set("Content-Type", "application/xml") // of nothing, as on S3
	c.w.Header().Set("x-amz-bucket-region", whereIs(b, who.Region))
	return c.w.empty(http.StatusOK)
}

func (c *call) deleteBucket() error {
	if err := c.store.DeleteBucket(c.r.Context(), c.bucket); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

func (c *call) getBucketLocation() error {
	b, err := c.store.HeadBucket(c.r.Context(), c.bucket)
	if err != nil {
		return err
	}
	return c.w.xml(http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"` // empty: us-east-1, where S3 keeps those that said nothing
	}{Region: b.Region})
}

// count reads a number from the query; most bounds it.
func (c *call) count(name string, absent, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, argument(name, text, "Provided "+name+" not an integer or within integer range")
	}
	if n < 0 {
		return 0, argument(name, text, "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return min(int(n), most), nil
}
