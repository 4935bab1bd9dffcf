package s3

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// methods names the operations of one subresource by HTTP method.
type methods map[string]string

func crud(noun string) methods {
	return methods{"GET": "Get" + noun, "PUT": "Put" + noun, "DELETE": "Delete" + noun}
}

// bucketParts and objectParts are the subresources: a query parameter that
// makes a request mean something else. All are listed, so that a request for
// one that Slipway lacks is never taken for one on the bucket or object itself.
var (
	bucketParts = map[string]methods{
		"abac":                crud("BucketAbac"),
		"accelerate":          crud("BucketAccelerateConfiguration"),
		"acl":                 crud("BucketAcl"),
		"analytics":           crud("BucketAnalyticsConfiguration"),
		"cors":                crud("BucketCors"),
		"encryption":          crud("BucketEncryption"),
		"intelligent-tiering": crud("BucketIntelligentTieringConfiguration"),
		"inventory":           crud("BucketInventoryConfiguration"),
		"lifecycle": {
			"GET": "GetBucketLifecycleConfiguration", "PUT": "PutBucketLifecycleConfiguration",
			"DELETE": "DeleteBucketLifecycle",
		},
		"location":               {"GET": "GetBucketLocation"},
		"logging":                crud("BucketLogging"),
		"metadataConfiguration":  crud("BucketMetadataConfiguration"),
		"metadataInventoryTable": {"PUT": "UpdateBucketMetadataInventoryTableConfiguration"},
		"metadataJournalTable":   {"PUT": "UpdateBucketMetadataJournalTableConfiguration"},
		"metadataTable":          crud("BucketMetadataTableConfiguration"),
		"metrics":                crud("BucketMetricsConfiguration"),
		"notification":           crud("BucketNotificationConfiguration"),
		"object-lock":            crud("ObjectLockConfiguration"),
		"ownershipControls":      crud("BucketOwnershipControls"),
		"policy":                 crud("BucketPolicy"),
		"policyStatus":           {"GET": "GetBucketPolicyStatus"},
		"publicAccessBlock":      crud("PublicAccessBlock"),
		"replication":            crud("BucketReplication"),
		"requestPayment":         crud("BucketRequestPayment"),
		"session":                {"GET": "CreateSession"},
		"tagging":                crud("BucketTagging"),
		"versioning":             crud("BucketVersioning"),
		"versions":               {"GET": "ListObjectVersions"},
		"website":                crud("BucketWebsite"),
		"uploads":                {"GET": "ListMultipartUploads"},
		"delete":                 {"POST": "DeleteObjects"},
	}
	objectParts = map[string]methods{
		"acl":          crud("ObjectAcl"),
		"attributes":   {"GET": "GetObjectAttributes"},
		"encryption":   {"PUT": "UpdateObjectEncryption"},
		"legal-hold":   crud("ObjectLegalHold"),
		"renameObject": {"PUT": "RenameObject"},
		"restore":      {"POST": "RestoreObject"},
		"retention":    crud("ObjectRetention"),
		"select":       {"POST": "SelectObjectContent"},
		"tagging":      crud("ObjectTagging"),
		"torrent":      {"GET": "GetObjectTorrent"},
		"uploads":      {"POST": "CreateMultipartUpload"},
		"uploadId": {
			"GET": "ListParts", "PUT": "UploadPart", "POST": "CompleteMultipartUpload",
			"DELETE": "AbortMultipartUpload",
		},
	}
)

// subresources returns those that a query names, whether of a bucket or of an
// object, in order.
func subresources(query url.Values) (asked []string) {
	for name := range query {
		if bucketParts[name] != nil || objectParts[name] != nil {
			asked = append(asked, name)
		}
	}
	slices.Sort(asked)
	return asked
}

// operationOf names the operation that a request asks for, by S3's name where
// it has one.
func operationOf(r *http.Request, bucket, key string, query url.Values) string {
	parts, whole := bucketParts, methods{
		"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket", "GET": "ListObjects",
		"POST": "PostObject",
	}
	switch {
	case bucket == "":
		parts, whole = nil, methods{"GET": "ListBuckets"}
	case key != "":
		parts, whole = objectParts, methods{
			"PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject", "GET": "GetObject",
			"OPTIONS": "OptionsObject",
		}
	}
	op := whole[r.Method]
	if asked := subresources(query); len(asked) == 1 {
		if op = parts[asked[0]][r.Method]; op == "" { // not on this, if on anything
			return r.Method + " ?" + asked[0]
		}
	} else if len(asked) > 1 { // what is meant?
		return r.Method + " ?" + strings.Join(asked, "&")
	}
	copies := r.Header.Get("X-Amz-Copy-Source") != ""
	switch {
	case op == "":
		return r.Method + " /"
	case op == "ListObjects" && query.Get("list-type") == "2":
		return "ListObjectsV2"
	case op == "PutObject" && copies:
		return "CopyObject"
	case op == "UploadPart" && copies:
		return "UploadPartCopy"
	}
	return op
}
