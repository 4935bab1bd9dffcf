package s3_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestABucketThatNobodyTouchedReadsAsOnAWS(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/bucket?acl":               {200, "<Permission>FULL_CONTROL</Permission>"},
		"/bucket/k?acl":             {200, "<Permission>FULL_CONTROL</Permission>"},
		"/bucket?policy":            {404, "<Code>NoSuchBucketPolicy</Code>"},
		"/bucket?policyStatus":      {404, "<BucketName>bucket</BucketName>"},
		"/bucket?encryption":        {200, "<SSEAlgorithm>AES256</SSEAlgorithm>"},
		"/bucket?publicAccessBlock": {200, "<RestrictPublicBuckets>true</RestrictPublicBuckets>"},
		"/bucket?ownershipControls": {200, "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>"},
		"/bucket?versioning":        {200, "</VersioningConfiguration>"},
		"/bucket?website":           {404, "<Code>NoSuchWebsiteConfiguration</Code>"},
		"/bucket?cors":              {404, "<Code>NoSuchCORSConfiguration</Code>"},
		"/bucket?lifecycle":         {404, "<Code>NoSuchLifecycleConfiguration</Code>"},
		"/bucket?logging":           {200, "</BucketLoggingStatus>"},
		"/bucket?replication":       {404, "<Code>ReplicationConfigurationNotFoundError</Code>"},
		"/bucket?object-lock":       {404, "<Code>ObjectLockConfigurationNotFoundError</Code>"},
		"/bucket?requestPayment":    {200, "<Payer>BucketOwner</Payer>"},
		"/bucket?accelerate":        {200, "</AccelerateConfiguration>"},
		"/bucket?notification":      {200, "</NotificationConfiguration>"},
		"/bucket?tagging":           {404, "<Code>NoSuchTagSet</Code>"},
		"/bucket?analytics":         {200, "</ListBucketAnalyticsConfigurationResult>"},
		"/bucket?metrics&id=x":      {404, "<Code>NoSuchConfiguration</Code>"},
		"/bucket/k?legal-hold":      {400, "<Code>InvalidRequest</Code>"},
		"/nothing?acl":              {404, "<BucketName>nothing</BucketName>"},
		"/bucket/nothing?acl":       {404, "<Key>nothing</Key>"},
	} {
		s.ask(t, "GET", path, "").has(t, path, want.status, want.text)
	}
	acl, err := c.GetBucketAcl(t.Context(), &client.GetBucketAclInput{Bucket: bucket})
	if err != nil || *acl.Owner.ID != "000000000000" || *acl.Grants[0].Grantee.ID != "000000000000" ||
		acl.Grants[0].Grantee.Type != types.TypeCanonicalUser {
		t.Errorf("%+v, %v", acl, err)
	}
	for _, path := range []string{"policy", "cors", "lifecycle", "website", "replication", "encryption"} {
		s.ask(t, "DELETE", "/bucket?"+path, "").has(t, "delete "+path, 204)
	}
}

func TestABucketKeepsItsTagsAndItsRegion(t *testing.T) {
	s, c := newSite(t)
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("vision")}}
	if _, err := c.PutBucketTagging(t.Context(), &client.PutBucketTaggingInput{
		Bucket: bucket, Tagging: &types.Tagging{TagSet: tags},
	}); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []types.Tag {
		out, err := c.GetBucketTagging(t.Context(), &client.GetBucketTaggingInput{Bucket: &name})
		if err != nil {
			t.Error(err)
			return nil
		}
		return out.TagSet
	}
	if got := read("bucket"); len(got) != 1 || *got[0].Value != "vision" {
		t.Errorf("%v", got)
	}
	if _, err := c.DeleteBucketTagging(t.Context(), &client.DeleteBucketTaggingInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	_, err := c.GetBucketTagging(t.Context(), &client.GetBucketTaggingInput{Bucket: bucket})
	wantCode(t, err, "NoSuchTagSet")

	west := s.client(func(o *client.Options) { o.Region = "eu-west-1" })
	create := func(location types.BucketLocationConstraint, cl *client.Client) error {
		_, err := cl.CreateBucket(t.Context(), &client.CreateBucketInput{
			Bucket: aws.String("west"), CreateBucketConfiguration: &types.CreateBucketConfiguration{
				LocationConstraint: location, Tags: tags,
			},
		})
		return err
	}
	wantCode(t, create("us-east-1", c), "InvalidLocationConstraint")
	wantCode(t, create("nowhere", c), "InvalidLocationConstraint")
	wantCode(t, create("us-west-2", west), "IllegalLocationConstraintException")
	wantCode(t, create("", west), "IllegalLocationConstraintException")
	if err := create("eu-west-1", west); err != nil {
		t.Fatal(err)
	}
	where, err := c.GetBucketLocation(t.Context(), &client.GetBucketLocationInput{Bucket: aws.String("west")})
	if err != nil || where.LocationConstraint != "eu-west-1" {
		t.Errorf("%+v, %v", where, err)
	}
	head, err := c.HeadBucket(t.Context(), &client.HeadBucketInput{Bucket: aws.String("west")})
	if err != nil || *head.BucketRegion != "eu-west-1" {
		t.Errorf("%+v, %v", head, err)
	}
	if got := read("west"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	all, err := c.ListBuckets(t.Context(), &client.ListBucketsInput{BucketRegion: aws.String("us-west-2")})
	if err != nil || len(all.Buckets) != 1 { // the one of no region
		t.Errorf("%+v, %v", all, err)
	}
}

func TestSystemTagsAreRefused(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	const body = "<Tagging><TagSet><Tag><Key>aws:x</Key><Value>y</Value></Tag></TagSet></Tagging>"
	for _, path := range []string{"/bucket?tagging", "/bucket/k?tagging"} {
		s.ask(t, "PUT", path, body).has(t, path, 400, "<Code>InvalidTag</Code>", "<TagKey>aws:x</TagKey>")
	}
	s.ask(t, "PUT", "/bucket/k", "", "x-amz-tagging: AWS%3Ax=y").has(t, "header", 400, "<Code>InvalidTag</Code>")
}

func TestAnObjectKeepsItsClassAndItsEncryption(t *testing.T) {
	s, c := newSite(t)
	key := "arn:aws:kms:us-east-1:000000000000:key/1"
	in := oneUpload(t, c, client.CreateMultipartUploadInput{
		StorageClass: "GLACIER_IR", ServerSideEncryption: "aws:kms", SSEKMSKeyId: &key,
		BucketKeyEnabled: aws.Bool(true),
	})
	done, err := c.CompleteMultipartUpload(t.Context(), &in)
	if err != nil || done.ServerSideEncryption != "aws:kms" || *done.SSEKMSKeyId != key || !*done.BucketKeyEnabled {
		t.Errorf("%+v, %v", done, err)
	}
	out, err := c.PutObject(t.Context(), &client.PutObjectInput{
		Bucket: bucket, Key: aws.String("k"), StorageClass: "STANDARD_IA", ServerSideEncryption: "AES256",
	})
	if err != nil || out.ServerSideEncryption != "AES256" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := c.CopyObject(t.Context(), &client.CopyObjectInput{ // which is asked anew
		Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String("bucket/k"), StorageClass: "ONEZONE_IA",
	}); err != nil {
		t.Error(err)
	}
	for name, want := range map[string][3]string{
		"k": {"STANDARD_IA", "AES256", ""}, *in.Key: {"GLACIER_IR", "aws:kms", key}, "copy": {"ONEZONE_IA", "", ""},
	} {
		h, err := c.HeadObject(t.Context(), &client.HeadObjectInput{Bucket: bucket, Key: &name})
		if err != nil {
			t.Error(err)
			continue
		}
		got := [3]string{string(h.StorageClass), string(h.ServerSideEncryption), aws.ToString(h.SSEKMSKeyId)}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	list, err := c.ListObjectsV2(t.Context(), &client.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("k")})
	if err != nil || list.Contents[0].StorageClass != "STANDARD_IA" {
		t.Errorf("%+v, %v", list, err)
	}
	for h, code := range map[string]string{
		"x-amz-storage-class: ICE": "InvalidStorageClass", "x-amz-server-side-encryption: DES": "InvalidArgument",
		"x-amz-server-side-encryption-aws-kms-key-id: x": "InvalidArgument",
	} {
		name, _, _ := strings.Cut(h, ":")
		s.ask(t, "PUT", "/bucket/bad", "", h).
			has(t, h, 400, "<Code>"+code+"</Code>", "<ArgumentName>"+name+"</ArgumentName>")
	}
}

func TestVersionsOfABucketThatHasNoneAreItsObjects(t *testing.T) {
	_, c := newSite(t)
	for _, k := range []string{"a", "b/c", "d"} {
		put(t, c, k, "")
	}
	var got []string
	in := client.ListObjectVersionsInput{Bucket: bucket, MaxKeys: aws.Int32(1), Delimiter: aws.String("/")}
	for p := client.NewListObjectVersionsPaginator(c, &in); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			got = append(got, *v.Key+" "+*v.VersionId)
		}
		for _, p := range page.CommonPrefixes {
			got = append(got, *p.Prefix)
		}
	}
	if want := []string{"a null", "b/", "d null"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheAttributesOfAnObject(t *testing.T) {
	s, c := newSite(t)
	in := oneUpload(t, c, client.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if _, err := c.CompleteMultipartUpload(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObjectAttributes(t.Context(), &client.GetObjectAttributesInput{
		Bucket: bucket, Key: in.Key, ObjectAttributes: []types.ObjectAttributes{
			"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize",
		},
	})
	if err != nil || strings.Contains(*out.ETag, `"`) || *out.ObjectSize != 4 || out.StorageClass != "STANDARD" ||
		*out.ObjectParts.TotalPartsCount != 1 || *out.ObjectParts.Parts[0].Size != 4 ||
		aws.ToString(out.ObjectParts.Parts[0].ChecksumCRC32) != "rfPzYw==" ||
		strings.Contains(*out.Checksum.ChecksumCRC32, "-") || out.Checksum.ChecksumType != "COMPOSITE" {
		t.Errorf("%+v, %v", out, err)
	}
	full := oneUpload(t, c, client.CreateMultipartUploadInput{
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
	})
	if _, err := c.CompleteMultipartUpload(t.Context(), &full); err != nil {
		t.Fatal(err)
	}
	const path = "/bucket/made%20of%20parts?attributes"
	s.ask(t, "GET", path, "", "x-amz-object-attributes: ObjectParts").has(
		t, "of a full object", 200, "<ObjectParts><PartsCount>1</PartsCount></ObjectParts>")
	s.ask(t, "GET", path, "").has(t, "none", 400, "<Code>InvalidRequest</Code>")
	s.ask(t, "GET", path, "", "x-amz-object-attributes: Taste").has(t, "another", 400, "InvalidArgument")
	s.ask(t, "GET", path, "", "x-amz-object-attributes: ETag").has(t, "one", 200, "<ETag>")
}

func TestErrorsCarryTheMembersThatAWSGives(t *testing.T) {
	s, c := newSite(t)
	put(t, c, "k", "data")
	for _, q := range []struct{ method, path, header, member string }{
		{"GET", "/bucket/no", "", "<Key>no</Key>"},
		{"GET", "/nothing/no", "", "<BucketName>nothing</BucketName>"},
		{"DELETE", "/bucket", "", "<BucketName>bucket</BucketName>"},
		{"GET", "/bucket/k?uploadId=x", "", "<UploadId>x</UploadId>"},
		{"GET", "/bucket/k", "If-Match: x", "<Condition>If-Match</Condition>"},
		{"PUT", "/bucket/k", "If-None-Match: *", "<Condition>If-None-Match</Condition>"},
		{"GET", "/bucket/k", "Range: bytes=9-", "<ActualObjectSize>4</ActualObjectSize>"},
		{"GET", "/bucket?max-keys=x", "", "<ArgumentName>max-keys</ArgumentName>"},
		{"PUT", "/bucket/l", "x-amz-copy-source: bucket/no", "<Key>no</Key>"},
		{
			"PUT", "/bucket/l", "x-amz-copy-source: bucket/k|x-amz-copy-source-if-match: x",
			"<Condition>x-amz-copy-source-If-Match</Condition>",
		},
		{"PUT", "/bucket/" + strings.Repeat("k", 1025), "", "<MaxSizeAllowed>1024</MaxSizeAllowed>"},
	} {
		var headers []string
		if q.header != "" {
			headers = strings.Split(q.header, "|")
		}
		a := s.ask(t, q.method, q.path, "", headers...)
		if a.status < http.StatusBadRequest || !strings.Contains(a.body, q.member) {
			t.Errorf("%s %.40s: %d, no %s in %s", q.method, q.path, a.status, q.member, a.body)
		}
	}
	_, _, err := get(t, c, client.GetObjectInput{Key: aws.String("no")})
	if _, ok := errors.AsType[*types.NoSuchKey](err); !ok {
		t.Error(err)
	}
}

func TestUploadsRollUpAtADelimiter(t *testing.T) {
	_, c := newSite(t)
	for _, k := range []string{"a", "b/1", "b/2", "c/", "d"} {
		if _, err := c.CreateMultipartUpload(t.Context(), &client.CreateMultipartUploadInput{
			Bucket: bucket, Key: &k,
		}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	in := client.ListMultipartUploadsInput{Bucket: bucket, Delimiter: aws.String("/"), MaxUploads: aws.Int32(1)}
	for range 9 {
		out, err := c.ListMultipartUploads(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range out.Uploads {
			got = append(got, *u.Key)
		}
		for _, p := range out.CommonPrefixes {
			got = append(got, *p.Prefix)
		}
		if in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker; !*out.IsTruncated {
			break
		}
	}
	if want := []string{"a", "b/", "c/", "d"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
