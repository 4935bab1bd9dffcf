package s3

import (
	"net/http"
	"strings"
)

// A setting of buckets or objects that nobody can change here reads as that of a
// bucket that nobody touched on AWS: a document, or the refusal of one.
type setting struct {
	element string // of the document, "" where there is none
	inner   string
	status  int
	code    string
	message string
}

// ownerOnly stands in inner for the list of the owner's rights.
const ownerOnly = "owner only"

var untouched = map[string]setting{
	"GetBucketAcl": {element: "AccessControlPolicy", inner: ownerOnly},
	"GetObjectAcl": {element: "AccessControlPolicy", inner: ownerOnly},
	"GetBucketEncryption": {
		element: "ServerSideEncryptionConfiguration",
		inner: "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>" +
			"</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>",
	},
	"GetPublicAccessBlock": {
		element: "PublicAccessBlockConfiguration",
		inner: "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>" +
			"<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>",
	},
	"GetBucketOwnershipControls": {
		element: "OwnershipControls", inner: "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
	},
	"GetBucketRequestPayment": {
		element: "RequestPaymentConfiguration", inner: "<Payer>BucketOwner</Payer>",
	},
	"GetBucketVersioning":                {element: "VersioningConfiguration"},
	"GetBucketLogging":                   {element: "BucketLoggingStatus"},
	"GetBucketAccelerateConfiguration":   {element: "AccelerateConfiguration"},
	"GetBucketNotificationConfiguration": {element: "NotificationConfiguration"},
	"GetBucketPolicy":                    absent("NoSuchBucketPolicy", "The bucket policy does not exist"),
	"GetBucketPolicyStatus":              absent("NoSuchBucketPolicy", "The bucket policy does not exist"),
	"GetBucketCors":                      absent("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
	"GetBucketLifecycleConfiguration": absent(
		"NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist",
	),
	"GetBucketWebsite": absent(
		"NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration",
	),
	"GetBucketReplication": absent(
		"ReplicationConfigurationNotFoundError", "The replication configuration was not found",
	),
	"GetObjectLockConfiguration": absent(
		"ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket",
	),
	"GetObjectLegalHold": {
		status: http.StatusBadRequest, code: "InvalidRequest",
		message: "Bucket is missing Object Lock Configuration",
	},
	"GetObjectRetention": {
		status: http.StatusBadRequest, code: "InvalidRequest",
		message: "Bucket is missing Object Lock Configuration",
	},
}

func absent(code, message string) setting {
	return setting{status: http.StatusNotFound, code: code, message: message}
}

// getSetting answers what the bucket or the object would answer if it had never
// been set.
func (c *call) getSetting() error {
	if err := c.exists(); err != nil {
		return err
	}
	s := untouched[c.op]
	if s.element == "" {
		return &apiError{status: s.status, code: s.code, message: s.message}
	}
	inner := s.inner
	if inner == ownerOnly {
		const schema = `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"`
		id := c.owner().ID // of digits
		who := "<ID>" + id + "</ID><DisplayName>" + id + "</DisplayName>"
		inner = "<Owner>" + who + "</Owner><AccessControlList><Grant><Grantee " + schema + ">" + who +
			"</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
	}
	return c.w.xml(http.StatusOK, document("<"+s.element+` xmlns="`+namespace+`">`+inner+"</"+s.element+">"))
}

// deleteSetting removes what is not there, which is no error on S3 either.
func (c *call) deleteSetting() error {
	if err := c.exists(); err != nil {
		return err
	}
	return c.w.empty(http.StatusNoContent)
}

func (c *call) exists() (err error) {
	if c.key != "" {
		_, err = c.store.Stat(c.r.Context(), c.bucket, c.key)
	} else {
		_, err = c.store.HeadBucket(c.r.Context(), c.bucket)
	}
	return err
}

// listConfigurations serves the settings of which a bucket may have several, each
// with an id: there are none.
func (c *call) listConfigurations() error {
	if err := c.exists(); err != nil {
		return err
	}
	if c.query.Has("id") {
		return &apiError{
			status: http.StatusNotFound, code: "NoSuchConfiguration",
			message: "The specified configuration does not exist.",
		}
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(c.op, "Get"), "Configuration")
	element := "List" + kind + "ConfigurationsResult"
	if kind == "BucketMetrics" || kind == "BucketAnalytics" {
		element = "List" + kind + "ConfigurationResult"
	}
	return c.w.xml(http.StatusOK, document(
		"<"+element+` xmlns="`+namespace+`"><IsTruncated>false</IsTruncated></`+element+">",
	))
}
