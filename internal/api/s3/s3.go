// Package s3 serves the S3 API on a store of objects, as far as SDKs, the
// command line and model tools use it: buckets, objects, listings, multipart
// uploads, copies, tags, ranges, conditions and checksums. An operation of S3
// that is not here answers NotImplemented and is named. Who is calling is known
// already, and the body of a request is checked as it is read (wire/gateway).
package s3

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

// Handler serves the API.
type Handler struct {
	store *objects.Store
	log   *slog.Logger
}

// New returns a handler on a store.
func New(store *objects.Store, log *slog.Logger) *Handler { return &Handler{store, log} }

// call is one request on its way.
type call struct {
	*Handler
	w      *response
	r      *http.Request
	op     string
	bucket string
	key    string
	query  url.Values
}

// operation serves one operation of the API.
type operation func(c *call) error

// operations are those that are here.
var operations = map[string]operation{
	"ListBuckets":             (*call).listBuckets,
	"CreateBucket":            (*call).createBucket,
	"HeadBucket":              (*call).headBucket,
	"DeleteBucket":            (*call).deleteBucket,
	"GetBucketLocation":       (*call).getBucketLocation,
	"ListObjects":             (*call).listObjects,
	"ListObjectsV2":           (*call).listObjectsV2,
	"DeleteObjects":           (*call).deleteObjects,
	"GetObject":               (*call).getObject,
	"HeadObject":              (*call).getObject,
	"PutObject":               (*call).putObject,
	"CopyObject":              (*call).copyObject,
	"DeleteObject":            (*call).deleteObject,
	"GetObjectTagging":        (*call).getTags,
	"PutObjectTagging":        (*call).putTags,
	"DeleteObjectTagging":     (*call).deleteTags,
	"CreateMultipartUpload":   (*call).createUpload,
	"UploadPart":              (*call).uploadPart,
	"UploadPartCopy":          (*call).uploadPartCopy,
	"ListParts":               (*call).listParts,
	"ListMultipartUploads":    (*call).listUploads,
	"CompleteMultipartUpload": (*call).completeUpload,
	"AbortMultipartUpload":    (*call).abortUpload,
	"ListObjectVersions":      (*call).listVersions,
	"GetObjectAttributes":     (*call).getAttributes,
	"GetBucketTagging":        (*call).getBucketTags,
	"PutBucketTagging":        (*call).putBucketTags,
	"DeleteBucketTagging":     (*call).deleteBucketTags,

	"GetBucketAcl":                       (*call).getSetting,
	"GetObjectAcl":                       (*call).getSetting,
	"GetBucketEncryption":                (*call).getSetting,
	"GetPublicAccessBlock":               (*call).getSetting,
	"GetBucketOwnershipControls":         (*call).getSetting,
	"GetBucketRequestPayment":            (*call).getSetting,
	"GetBucketVersioning":                (*call).getSetting,
	"GetBucketLogging":                   (*call).getSetting,
	"GetBucketAccelerateConfiguration":   (*call).getSetting,
	"GetBucketNotificationConfiguration": (*call).getSetting,
	"GetBucketPolicy":                    (*call).getSetting,
	"GetBucketPolicyStatus":              (*call).getSetting,
	"GetBucketCors":                      (*call).getSetting,
	"GetBucketLifecycleConfiguration":    (*call).getSetting,
	"GetBucketWebsite":                   (*call).getSetting,
	"GetBucketReplication":               (*call).getSetting,
	"GetObjectLockConfiguration":         (*call).getSetting,
	"GetObjectLegalHold":                 (*call).getSetting,
	"GetObjectRetention":                 (*call).getSetting,

	"DeleteBucketEncryption":  (*call).deleteSetting,
	"DeleteBucketPolicy":      (*call).deleteSetting,
	"DeleteBucketCors":        (*call).deleteSetting,
	"DeleteBucketLifecycle":   (*call).deleteSetting,
	"DeleteBucketWebsite":     (*call).deleteSetting,
	"DeleteBucketReplication": (*call).deleteSetting,

	"GetBucketAnalyticsConfiguration":          (*call).listConfigurations,
	"GetBucketInventoryConfiguration":          (*call).listConfigurations,
	"GetBucketMetricsConfiguration":            (*call).listConfigurations,
	"GetBucketIntelligentTieringConfiguration": (*call).listConfigurations,
}

// ServeHTTP serves a request whose caller is in its context.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Handler: h, w: &response{ResponseWriter: w}, r: r, query: r.URL.Query()}
	c.bucket, c.key = split(r)
	c.op = operationOf(r, c.bucket, c.key, c.query)
	requestID(w.Header())
	err := c.serve()
	code := ""
	if err != nil {
		e := c.tell(answer(err))
		code = e.code
		if !c.w.begun {
			c.w.refuse(r, e)
		} else if e.status >= http.StatusInternalServerError {
			c.record(r.Context(), code, err)
			panic(http.ErrAbortHandler) // cut it off: half an object must not look whole
		}
	}
	c.record(r.Context(), code, err)
}

func (c *call) serve() error {
	op, ok := operations[c.op]
	if !ok {
		return notImplemented("The operation " + c.op)
	}
	caller, err := access.From(c.r.Context())
	if err != nil {
		return err
	}
	if err := cmp.Or(c.checkParameters(), c.checkHeaders(), c.checkOwners(caller)); err != nil {
		return err
	}
	resource := "arn:aws:s3:::" + c.bucket
	if c.key != "" {
		resource += "/" + c.key
	}
	if err := access.Allow(caller, "s3:"+c.op, resource); err != nil {
		return err
	}
	return op(c)
}

// split finds the bucket and the key in a request: both in the path, or the
// bucket in a host name below localhost, which some SDKs make up, or below one
// of S3, to which a tunnel leads.
func split(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if bucket := bucketOf(r.Host); bucket != "" {
		return bucket, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// bucketOf is the bucket that a host names, "" if it names none.
func bucketOf(host string) string {
	bucket := awshost.Bucket(host)
	if objects.CheckBucketName(bucket) != nil {
		return ""
	}
	return bucket
}

// url is where the object is for who made the request.
func (c *call) url() string {
	scheme := "http://"
	if c.r.TLS != nil {
		scheme = "https://"
	}
	if bucketOf(c.r.Host) != "" {
		return scheme + c.r.Host + "/" + encodeKey(c.key)
	}
	return scheme + c.r.Host + "/" + c.bucket + "/" + encodeKey(c.key)
}

// record writes the one line about a request.
func (c *call) record(ctx context.Context, code string, err error) {
	request := access.RequestOf(ctx)
	level := request.Level
	facts := []slog.Attr{
		slog.String("service", "s3"), slog.String("op", c.op), slog.String("bucket", c.bucket),
		slog.Int("status", c.w.status),
		slog.String("code", code), slog.String("request_id", requestID(c.w.Header())),
		slog.Int64("bytes", c.w.bytes(c.r)),
	}
	_, gone := errors.AsType[*net.OpError](err) // the client, in the middle of an object
	if err != nil && answer(err).status == http.StatusInternalServerError && ctx.Err() == nil && !gone {
		level = slog.LevelError
	}
	if err != nil {
		facts = append(facts, slog.Any("err", err))
	}
	c.log.LogAttrs(ctx, level, "request served", append(facts, request.Facts(ctx)...)...)
}

// Refuse answers a request that did not get as far as an operation.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	(&response{ResponseWriter: w}).refuse(r, &apiError{status: status, code: code, message: message})
}

// reserved are the names that stand for other things on Slipway's one address.
var reserved = map[string]bool{
	"endpoints": true, "console": true, "healthz": true, "readyz": true, "metrics": true, "service": true,
}

func checkBucketName(name string) error {
	if reserved[name] {
		return fault.New(
			fault.Invalid, "The bucket name %q is reserved by Slipway.", name,
		).Because(objects.ErrBucketName)
	}
	if strings.Contains(name, ".-") || strings.Contains(name, "-.") { // nor a host's name
		return fault.New(fault.Invalid, "The specified bucket is not valid.").Because(objects.ErrBucketName)
	}
	return objects.CheckBucketName(name)
}
