package s3_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// What S3 refuses was observed there (records of LocalStack's tests, 2024 to 2026), or is
// what moto's and Ceph's tests expect of it.
func TestWhatS3RefusesIsRefusedHere(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "0123456789")
	copied := "x-amz-copy-source: /bucket/k"
	upload := oneUpload(t, c, client.CreateMultipartUploadInput{})
	part := "PUT /bucket/made%20of%20parts?partNumber=1&uploadId=" + *upload.UploadId
	configured := func(with string) string {
		return "<CreateBucketConfiguration>" + with + "</CreateBucketConfiguration>"
	}
	other := configured("<LocationConstraint>eu-west-1</LocationConstraint>")
	tagged := configured("<Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>")
	tags := func(key, value string) string {
		return "<Tagging><TagSet><Tag><Key>" + key + "</Key><Value>" + value + "</Value></Tag></TagSet></Tagging>"
	}
	for _, x := range []struct {
		request, body string
		headers       []string
		status        int
		texts         []string
	}{
		{"GET /bucket?list-type=2&continuation-token=", "", nil, 400, []string{"InvalidArgument", "continuation-"}},
		{"GET /bucket?list-type=3", "", nil, 400, []string{"InvalidArgument", "<ArgumentName>list-type<"}},
		{"GET /bucket?encoding-type=", "", nil, 400, []string{"InvalidArgument", "Invalid Encoding Method"}},
		{"GET /bucket?list-type=2&encoding-type=", "", nil, 400, []string{"InvalidArgument"}},
		{"GET /bucket?versions&encoding-type=", "", nil, 400, []string{"InvalidArgument"}},
		{"GET /bucket?uploads&encoding-type=", "", nil, 400, []string{"InvalidArgument"}},
		{"GET /?max-buckets=0", "", nil, 400, []string{"InvalidArgument", "between 1 and 10000"}},
		{"GET /?max-buckets=10001", "", nil, 400, []string{"InvalidArgument", "between 1 and 10000"}},
		{"GET /bucket?uploads&max-uploads=0", "", nil, 400, []string{"InvalidArgument", "between 1 and 2147483647"}},
		{"GET /?bucket-region=nowhere", "", nil, 400, []string{"InvalidArgument", "not a valid AWS Region"}},
		{"PUT /bucket", other, nil, 409, []string{"BucketAlreadyOwnedByYou"}},
		{"PUT /bucket", tagged, nil, 409, []string{"BucketAlreadyOwnedByYou"}},
		{"PUT /foo.-bar", "", nil, 400, []string{"InvalidBucketName"}},
		{"PUT /foo-.bar", "", nil, 400, []string{"InvalidBucketName"}},
		{"PUT /new", "", []string{"x-amz-object-ownership: anybody"}, 400, []string{"InvalidArgument"}},
		{"PUT /new", "", []string{"x-amz-object-ownership: "}, 400, []string{"InvalidArgument"}},
		{"PUT /new", "", []string{"x-amz-object-ownership: ObjectWriter"}, 501, []string{"NotImplemented"}},
		{"PUT /bucket/k", "new", []string{"If-Match: "}, 412, []string{"PreconditionFailed", "<Condition>If-Match<"}},
		{"PUT /bucket/k", "new", []string{"If-None-Match: "}, 501, []string{"NotImplemented"}},
		{"PUT /bucket/other", "", []string{"If-Match: ", copied}, 412, []string{"PreconditionFailed"}},
		{"GET /bucket/k", "", []string{"If-Match: "}, 412, []string{"PreconditionFailed"}},
		{"DELETE /bucket/k", "", []string{"If-Match: "}, 412, []string{"PreconditionFailed"}},
		{
			"POST /bucket?delete", "<Delete><Object><Key>k</Key><ETag></ETag></Object></Delete>", nil, 200,
			[]string{"<Error><Key>k</Key><Code>PreconditionFailed</Code>"},
		},
		{
			"DELETE /bucket/k", "",
			[]string{"x-amz-bypass-governance-retention: true"},
			400,
			[]string{"InvalidArgument", "only applicable to Object Lock enabled buckets"},
		},
		{"PUT /bucket/k", "new", []string{"Content-MD5: "}, 400, []string{"InvalidDigest"}},
		{
			"PUT /bucket/k", "new",
			[]string{"x-amz-acl: private", "x-amz-grant-read: id=1"},
			400,
			[]string{"InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed"},
		},
		{"PUT /bucket/k?tagging", tags("a,b", "c"), nil, 400, []string{"InvalidTag", "The TagKey you"}},
		{"PUT /bucket/k?tagging", tags("a", "b;c"), nil, 400, []string{"InvalidTag", "The TagValue you"}},
		{"PUT /bucket/k?tagging", "<Tagging></Tagging>", nil, 400, []string{"MalformedXML"}},
		{"PUT /bucket?tagging", tags("a", "b&amp;c"), nil, 400, []string{"InvalidTag"}},
		{"PUT /bucket/k", "new", []string{"x-amz-tagging: a=b%2Cc"}, 400, []string{"InvalidTag"}},
		{"GET /bucket/k?response-cache-control=%E2%80%94", "", nil, 400, []string{"InvalidArgument", "ISO-8859-1"}},
		{part, "", []string{copied, "x-amz-copy-source-range: "}, 400, []string{"InvalidArgument", "bytes=first-last"}},
		{
			part, "",
			[]string{copied, "x-amz-copy-source-range: bytes=3-10"},
			400,
			[]string{"InvalidArgument", "Range specified is not valid for source object of size: 10"},
		},
		{
			part, "",
			[]string{copied, "x-amz-copy-source-range: bytes=10-20"},
			400,
			[]string{"InvalidRequest", "The specified copy range is invalid for the source object size"},
		},
	} {
		method, path, _ := strings.Cut(x.request, " ")
		s.ask(t, method, path, x.body, x.headers...).
			has(t, x.request+" "+strings.Join(x.headers, " "), x.status, x.texts...)
	}
	s.ask(t, "PUT", "/bucket/k?tagging", tags("a é 1 _.:/=+-@", "")).has(t, "a tag of everything", 200)
	s.ask(t, "GET", "/bucket/k?response-cache-control=%C3%A9", "").has(t, "Latin-1", 200)
	if got, _, err := get(t, c, client.GetObjectInput{Key: aws.String("k")}); got != "0123456789" || err != nil {
		t.Errorf("after all that: %q, %v", got, err)
	}
}

func TestABucketElsewhereIsNotTheOneThatIsMeant(t *testing.T) {
	s, c := newSite(t)
	west := s.client(func(o *client.Options) { o.Region = "eu-west-1" })
	create := func(c *client.Client, location types.BucketLocationConstraint) error {
		in := &client.CreateBucketInput{Bucket: aws.String("in-the-west")}
		if location != "" {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: location}
		}
		_, err := c.CreateBucket(t.Context(), in)
		return err
	}
	for _, location := range []types.BucketLocationConstraint{"us-east-1", "us-west-2", "nonsense"} {
		wantCode(t, create(west, location), "IllegalLocationConstraintException")
	}
	for _, location := range []types.BucketLocationConstraint{"us-east-1", "nonsense"} {
		wantCode(t, create(c, location), "InvalidLocationConstraint")
	}
	if err := create(west, "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create(west, "eu-west-1"), "BucketAlreadyOwnedByYou")
	wantCode(t, create(c, ""), "BucketAlreadyOwnedByYou")
	out, err := c.ListBuckets(t.Context(), &client.ListBucketsInput{Prefix: aws.String("in-")})
	if err != nil || len(out.Buckets) != 1 || aws.ToString(out.Buckets[0].BucketRegion) != "eu-west-1" ||
		aws.ToString(out.Buckets[0].BucketArn) != "arn:aws:s3:::in-the-west" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestABucketMayBeInAnyRegion(t *testing.T) {
	s, c := newSite(t)
	for _, region := range []string{
		"ap-northeast-1", "ap-southeast-7", "eu-central-2", "us-gov-west-1", "cn-north-1", "mx-central-1",
		"il-central-1", "eusc-de-east-1", "us-isob-east-1", "home-lab2-1",
	} {
		there := s.client(func(o *client.Options) { o.Region = region })
		name := "in-" + region
		at := &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
		in := &client.CreateBucketInput{Bucket: &name, CreateBucketConfiguration: at}
		if _, err := there.CreateBucket(t.Context(), in); err != nil {
			t.Errorf("%s: %v", region, err)
			continue
		}
		out, err := c.ListBuckets(t.Context(), &client.ListBucketsInput{BucketRegion: &region})
		if err != nil || !slices.ContainsFunc(out.Buckets, func(b types.Bucket) bool { return *b.Name == name }) {
			t.Errorf("%s: %+v, %v", region, out, err)
		}
	}
}

func TestStartAfterIsNotSaidAgainBesideAToken(t *testing.T) {
	s, c := newSite(t)
	for _, k := range []string{"a", "b", "c"} {
		put(t, c, k, "")
	}
	in := &client.ListObjectsV2Input{Bucket: bucket, StartAfter: aws.String("a"), MaxKeys: aws.Int32(1)}
	first, err := c.ListObjectsV2(t.Context(), in)
	if err != nil || *first.Contents[0].Key != "b" || aws.ToString(first.StartAfter) != "a" {
		t.Fatalf("%+v, %v", first, err)
	}
	in.ContinuationToken = first.NextContinuationToken
	second, err := c.ListObjectsV2(t.Context(), in)
	if err != nil || *second.Contents[0].Key != "c" || second.StartAfter != nil {
		t.Errorf("%+v, %v", second, err)
	}
	s.ask(t, "GET", "/?continuation-token=", "").has(t, "the first page of buckets", 200, "<Name>bucket</Name>")
}

func TestAPageOfUploadsBeginsAfterAnUploadOfTheKeyThatIsNamed(t *testing.T) {
	s, c := newSite(t)
	ids := map[string]string{}
	for _, k := range []string{"a", "b"} {
		out, err := c.CreateMultipartUpload(t.Context(), &client.CreateMultipartUploadInput{Bucket: bucket, Key: &k})
		if err != nil {
			t.Fatal(err)
		}
		ids[k] = *out.UploadId
	}
	list := "/bucket?uploads&key-marker="
	s.ask(t, "GET", list+"a&upload-id-marker="+ids["b"], "").
		has(t, "an upload of another key", 400, "InvalidArgument", "Invalid uploadId marker")
	s.ask(t, "GET", list+"a&upload-id-marker="+ids["a"], "").
		has(t, "one of the key", 200, "<Key>b</Key>", "<UploadIdMarker>"+ids["a"]+"<")
	s.ask(t, "GET", list+"&upload-id-marker="+ids["b"], "").
		has(t, "no key", 200, "<Key>a</Key>", "<Key>b</Key>", "<UploadIdMarker></UploadIdMarker>")
	s.ask(t, "DELETE", "/bucket/a?uploadId="+ids["a"], "").has(t, "abort", 204)
	s.ask(t, "GET", list+"a&upload-id-marker="+ids["a"], "").has(t, "one that ended since", 200, "<Key>b</Key>")
	s.ask(t, "GET", list+"b", "").
		has(t, "after the last", 200, "<NextKeyMarker></NextKeyMarker>", "<NextUploadIdMarker></NextUploadIdMarker>")
}

func TestACompositeChecksumIsOfChecksumsThatTheCallerKnows(t *testing.T) {
	_, c := newSite(t)
	in := oneUpload(t, c, client.CreateMultipartUploadInput{
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeComposite,
	})
	part := &in.MultipartUpload.Parts[0]
	right := part.ChecksumCRC32
	for name, x := range map[string]struct {
		sum  *string
		code string
		text string
	}{
		"none": {nil, "InvalidRequest", "created using a crc32 checksum"},
		"another": {
			aws.String("AAAAAA=="), "InvalidPart", "One or more of the specified parts could not be found.",
		},
	} {
		part.ChecksumCRC32 = x.sum
		_, err := c.CompleteMultipartUpload(t.Context(), &in)
		wantCode(t, err, x.code)
		if err != nil && !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	part.ChecksumCRC32, in.MpuObjectSize = right, aws.Int64(5)
	_, err := c.CompleteMultipartUpload(t.Context(), &in)
	wantCode(t, err, "InvalidRequest")
	in.MpuObjectSize = nil
	parts := []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag, ChecksumCRC32: right}}
	in.MultipartUpload.Parts = []types.CompletedPart{}
	_, err = c.CompleteMultipartUpload(t.Context(), &in)
	wantCode(t, err, "MalformedXML")
	in.MultipartUpload = nil
	_, err = c.CompleteMultipartUpload(t.Context(), &in)
	wantCode(t, err, "InvalidRequest")
	in.MultipartUpload = &types.CompletedMultipartUpload{Parts: parts}
	if _, err := c.CompleteMultipartUpload(t.Context(), &in); err != nil {
		t.Error(err)
	}
}

func TestWhichPartIsWrongIsSaid(t *testing.T) {
	s, c := newSite(t)
	in := oneUpload(t, c, client.CreateMultipartUploadInput{})
	etag := strings.Trim(*in.MultipartUpload.Parts[0].ETag, `"`)
	path := "/bucket/made%20of%20parts?uploadId=" + *in.UploadId
	s.ask(t, "PUT", path+"&partNumber=2", "data").has(t, "the second part", 200)
	complete := func(numbers ...string) answer {
		var b strings.Builder
		for _, n := range numbers {
			b.WriteString("<Part><PartNumber>" + n + "</PartNumber><ETag>" + etag + "</ETag></Part>")
		}
		return s.ask(t, "POST", path, "<CompleteMultipartUpload>"+b.String()+"</CompleteMultipartUpload>")
	}
	complete("1", "2").has(
		t, "a small part", 400, "<Code>EntityTooSmall</Code>", "<PartNumber>1</PartNumber>", "<ETag>"+etag+"</ETag>",
		"<ProposedSize>4</ProposedSize>", "<MinSizeAllowed>5242880</MinSizeAllowed>",
	)
	complete("7").has(
		t, "a part that is not there", 400, "<Code>InvalidPart</Code>", "<PartNumber>7</PartNumber>",
		"<ETag>"+etag+"</ETag>", "<UploadId>"+*in.UploadId+"</UploadId>",
	)
}

func TestAPageOfNothingIsNotFollowedByAnother(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	in := oneUpload(t, c, client.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	upload := "/bucket/made%20of%20parts?uploadId=" + *in.UploadId
	for _, path := range []string{
		"/bucket?max-keys=0", "/bucket?list-type=2&max-keys=0", "/bucket?versions&max-keys=0", upload + "&max-parts=0",
	} {
		s.ask(t, "GET", path, "").has(t, path, 200, "<IsTruncated>false</IsTruncated>")
	}
	if _, err := c.CompleteMultipartUpload(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	asked := []string{"x-amz-object-attributes: ObjectParts", "x-amz-max-parts: 0"}
	s.ask(t, "GET", "/bucket/made%20of%20parts?attributes", "", asked...).
		has(t, "attributes", 200, "<IsTruncated>false</IsTruncated>")
}

// A key may hold what XML may not. Written as U+FFFD it would be another key's.
func TestAKeyIsNeverListedAsAnother(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "d/a\x00b", "")
	put(t, c, "d/\ufffe<&>\r\n", "")
	for _, path := range []string{"/bucket?prefix=d/", "/bucket?list-type=2", "/bucket?versions"} {
		a := s.ask(t, "GET", path, "")
		a.has(t, path, 200, "<Key>d/a&#x0;b</Key>", "<Key>d/&#xFFFE;&#x3C;&#x26;&#x3E;&#xD;&#xA;</Key>")
		if strings.Contains(a.body, "\ufffd") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	s.ask(t, "GET", "/bucket?delimiter=%00", "").
		has(t, "a common prefix", 200, "<Prefix>d/a&#x0;</Prefix>", "<Delimiter>&#x0;</Delimiter>")
	s.ask(t, "GET", "/bucket?max-keys=1", "").has(t, "a marker", 200, "<NextMarker>d/a&#x0;b</NextMarker>")
	s.ask(t, "GET", "/bucket?encoding-type=url", "").has(t, "in an URL's spelling", 200, "<Key>d/a%00b</Key>")
}

// As on S3, the checksum of a part is told where the object's is made of them.
func TestAPartIsServedWithItsOwnChecksum(t *testing.T) {
	s, c := newSite(t)
	for kind, want := range map[types.ChecksumType]string{
		types.ChecksumTypeComposite: "rfPzYw==", types.ChecksumTypeFullObject: "",
	} {
		in := oneUpload(t, c, client.CreateMultipartUploadInput{
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: kind,
		})
		if _, err := c.CompleteMultipartUpload(t.Context(), &in); err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"GET", "HEAD"} {
			a := s.ask(t, method, "/bucket/made%20of%20parts?partNumber=1", "", "x-amz-checksum-mode: ENABLED")
			if a.status != 206 || a.header.Get("X-Amz-Checksum-Crc32") != want {
				t.Errorf("%s %s: %d, %v", method, kind, a.status, a.header)
			}
		}
	}
}

func TestABucketWithoutABodyIsStillXML(t *testing.T) {
	s, _ := newSite(t)
	if kind := s.ask(t, "HEAD", "/bucket", "").header.Get("Content-Type"); kind != "application/xml" {
		t.Errorf("HeadBucket answers with the type %q", kind)
	}
}
