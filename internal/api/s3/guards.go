package s3

import (
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/access"
)

// Operations that act on the same headers.
var (
	writes = []string{"PutObject", "CopyObject", "CreateMultipartUpload"}
	copies = []string{"CopyObject", "UploadPartCopy"}
	reads  = []string{"GetObject", "HeadObject"}
)

// honoured says which operations act on a header that may change what a request
// does. Who sends one relies on it: with any other operation, and if it is S3's
// own and not here at all, the request is refused and the header named. nil
// stands for every operation.
var honoured = map[string][]string{
	"If-Match": slices.Concat(reads, []string{
		"PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject",
	}),
	"If-None-Match": slices.Concat(reads, []string{"PutObject", "CopyObject", "CompleteMultipartUpload"}),

	"If-Modified-Since": reads, "If-Unmodified-Since": reads,
	"Content-Range": {}, // a part of an object cannot be written

	"X-Amz-Acl":                                       append(writes, "CreateBucket"),
	"X-Amz-Grant-Full-Control":                        append(writes, "CreateBucket"),
	"X-Amz-Grant-Read":                                append(writes, "CreateBucket"),
	"X-Amz-Grant-Read-Acp":                            append(writes, "CreateBucket"),
	"X-Amz-Grant-Write":                               append(writes, "CreateBucket"),
	"X-Amz-Grant-Write-Acp":                           append(writes, "CreateBucket"),
	"X-Amz-Object-Ownership":                          {"CreateBucket"},
	"X-Amz-Bucket-Namespace":                          {"CreateBucket"},
	"X-Amz-Tagging":                                   writes,
	"X-Amz-Storage-Class":                             writes,
	"X-Amz-Server-Side-Encryption":                    writes,
	"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id":     writes,
	"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": writes,
	"X-Amz-Server-Side-Encryption-Context":            writes,
	"X-Amz-Website-Redirect-Location":                 writes,

	"X-Amz-Bucket-Object-Lock-Enabled": {"CreateBucket"},

	"X-Amz-Copy-Source":                     copies,
	"X-Amz-Copy-Source-If-Match":            copies,
	"X-Amz-Copy-Source-If-None-Match":       copies,
	"X-Amz-Copy-Source-If-Modified-Since":   copies,
	"X-Amz-Copy-Source-If-Unmodified-Since": copies,
	"X-Amz-Copy-Source-Range":               {"UploadPartCopy"},
	"X-Amz-Source-Expected-Bucket-Owner":    copies,

	"X-Amz-If-Match-Initiated-Time":     {"AbortMultipartUpload"},
	"X-Amz-If-Match-Last-Modified-Time": {"DeleteObject"},
	"X-Amz-If-Match-Size":               {"DeleteObject"},
	"X-Amz-Mp-Object-Size":              {"CompleteMultipartUpload"},
	"X-Amz-Checksum-Type":               {"CreateMultipartUpload", "CompleteMultipartUpload"},
	"X-Amz-Checksum-Algorithm":          {"CreateMultipartUpload", "CopyObject"},
	"X-Amz-Object-Attributes":           {"GetObjectAttributes"},
	"X-Amz-Max-Parts":                   {"GetObjectAttributes"},
	"X-Amz-Part-Number-Marker":          {"GetObjectAttributes"},

	"X-Amz-Expected-Bucket-Owner": nil,
	// The gateway has acted on these, or will while the body is read.
	"X-Amz-Date": nil, "X-Amz-Content-Sha256": nil, "X-Amz-Security-Token": nil, "X-Amz-Trailer": nil,
	"X-Amz-Decoded-Content-Length": nil, "X-Amz-Sdk-Checksum-Algorithm": nil,
	// These ask for nothing that is not so already, or speak of the copy that an
	// upload is for.
	"X-Amz-Request-Payer": nil, "X-Amz-Checksum-Mode": nil, "X-Amz-Bypass-Governance-Retention": nil,
	"X-Amz-Optional-Object-Attributes": nil, "X-Amz-User-Agent": nil, "X-Amz-Api-Version": nil,
	"X-Amz-Metadata-Directive": nil, "X-Amz-Tagging-Directive": nil,
}

// checkHeaders refuses what the operation would not act on.
func (c *call) checkHeaders() error {
	for name, values := range c.r.Header {
		ops, known := honoured[name]
		own := strings.HasPrefix(name, "X-Amz-") && !strings.HasPrefix(name, "X-Amz-Meta-") &&
			!strings.HasPrefix(name, "X-Amz-Checksum-")
		reading := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
		switch {
		case !known && !own, known && ops == nil, slices.Contains(ops, c.op):
		case reading && (name == "If-None-Match" || name == "If-Modified-Since"): // may be answered in full
		default:
			return &apiError{
				status: http.StatusNotImplemented, code: "NotImplemented",
				message: "A header you provided implies functionality that is not implemented",
				members: []member{{"Header", name}, {"Value", values[0]}},
			}
		}
	}
	return nil
}

// versioned are the operations that may name a version.
var versioned = []string{
	"GetObject", "HeadObject", "DeleteObject", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging",
	"GetObjectAttributes", "GetObjectAcl", "GetObjectLegalHold", "GetObjectRetention",
}

// checkParameters refuses parameters that the operation would not act on.
func (c *call) checkParameters() error {
	for name, values := range c.query {
		if len(values) > 1 {
			return argument(name, strings.Join(values, ","), "The parameter must be given once.")
		}
	}
	v, ok := c.query.Get("versionId"), c.query.Has("versionId")
	switch {
	case ok && !slices.Contains(versioned, c.op):
		return argument("versionId", v, "This operation does not accept a version-id.")
	case ok && v == "":
		return argument("versionId", v, "Version id cannot be the empty string")
	case ok && v != "null":
		return argument("versionId", v, "Invalid version id specified")
	case c.query.Has("partNumber") && !slices.Contains(reads, c.op) && !c.query.Has("uploadId"):
		return argument("partNumber", c.query.Get("partNumber"), "A part must name its upload.")
	}
	return nil
}

// checkOwners holds the buckets of a request against the owners that the caller
// expects: there is one account here.
func (c *call) checkOwners(caller access.Caller) error {
	for _, name := range []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Source-Expected-Bucket-Owner"} {
		owner, given := c.r.Header[name]
		switch {
		case !given:
		case len(owner[0]) != 12 || strings.Trim(owner[0], "0123456789") != "":
			return invalid(
				"InvalidBucketOwnerAWSAccountID",
				"The value of the expected bucket owner parameter must be an AWS account ID.",
			)
		case owner[0] != caller.Account:
			return &apiError{status: http.StatusForbidden, code: "AccessDenied", message: "Access Denied"}
		}
	}
	return nil
}
