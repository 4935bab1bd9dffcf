package door

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// What a device asks of S3, in the words that Config.DeviceObject is asked in.
const (
	ObjectGet      = "GET"      // read the object, or learn how long it is
	ObjectPut      = "PUT"      // write it, whole
	ObjectLocation = "LOCATION" // in which region the bucket is; the key is ""
)

// edgePaths are the calls that devices make.
var edgePaths = map[string]bool{"/GetDeployments": true, "/GetDeviceRegistration": true, "/SendHeartbeat": true}

// maxEnrolment bounds the body of an enrolment, in bytes.
const maxEnrolment = 64 << 10

// enroll hands on the request of a device that has no credentials yet: what it
// brings instead is judged there.
func (d *door) enroll(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxEnrolment)
	d.Enroll.ServeHTTP(w, r)
}

// admit lets a device through that has a certificate still, and that has
// business behind this door. In another region another device may have its name.
// Anybody else may pass.
func (d *door) admit(c access.Caller, open bool) error {
	if c.Device == nil {
		return nil
	}
	if err := d.alive(c); err != nil {
		return err
	}
	if !open || c.Device.Region != "" && c.Device.Region != c.Region {
		return denied(c)
	}
	return nil
}

// alive refuses a device whose certificate is no good any more.
func (d *door) alive(c access.Caller) error {
	if d.SessionAlive != nil && !d.SessionAlive(*c.Device) {
		return sigv4.BadToken()
	}
	return nil
}

func denied(c access.Caller) error {
	return fault.New(fault.Denied, "User: %s is not authorized to perform this operation", c.ARN)
}

// deviceObject lets a device read the objects that are its own, and add to them:
// what is there already, it does not overwrite. In whatever region it signs, it
// is the device of its own.
func (d *door) deviceObject(r *http.Request, c access.Caller) error {
	if c.Device == nil {
		return nil
	}
	if err := d.alive(c); err != nil {
		return err
	}
	verb, bucket, key := objectOf(r)
	if verb == "" || d.DeviceObject == nil {
		return denied(c)
	}
	if c.Device.Region != "" {
		c.Region = c.Device.Region
	}
	if verb == ObjectPut {
		r.Header.Set("If-None-Match", "*")
	}
	return d.DeviceObject(r.Context(), c, verb, bucket, key)
}

// objectOf says what a request wants of which object, and "" if it is not one
// of the three things that a device may want. Whatever would make S3 understand
// the request otherwise is refused: a bucket in the host's name, a parameter
// that asks for a part of an object or for something about it, a copy.
func objectOf(r *http.Request) (verb, bucket, key string) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".localhost") || r.Header.Get("X-Amz-Copy-Source") != "" {
		return "", "", ""
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", "", ""
	}
	location := false
	for name := range query {
		switch lower := strings.ToLower(name); {
		case name == "location":
			location = true
		case name == "x-id", strings.HasPrefix(lower, "x-amz-"):
		case name == "AWSAccessKeyId", name == "Signature", name == "Expires":
		default:
			return "", "", ""
		}
	}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket == "":
	case key == "" && location && r.Method == http.MethodGet:
		return ObjectLocation, bucket, ""
	case key == "" || location:
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return ObjectGet, bucket, key
	case r.Method == http.MethodPut:
		return ObjectPut, bucket, key
	}
	return "", "", ""
}

// refusalOf says why a caller who is known was turned away, in the words of the
// style.
func refusalOf(err error, style sigv4.Style) *awserr.Error {
	if s, ok := errors.AsType[*sigv4.Error](err); ok {
		query := s.In(sigv4.StyleQuery).Code
		s = s.In(style)
		return &awserr.Error{Code: s.Code, Status: s.Status, Message: s.Message, Query: query}
	}
	kind, text := fault.Public(err)
	switch kind {
	case fault.Denied:
		if style == sigv4.StyleJSON {
			return &awserr.Error{Code: "AccessDeniedException", Status: http.StatusForbidden, Message: text}
		}
		return &awserr.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: text}
	case fault.NotFound:
		return &awserr.Error{Code: "NoSuchKey", Status: http.StatusNotFound, Message: text}
	}
	return &awserr.Error{Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Message: "Please try again."}
}

// DeviceObject judges what a device may do with an object: verb is ObjectGet,
// ObjectPut or ObjectLocation. A refusal is a fault.Denied.
type DeviceObject func(ctx context.Context, c access.Caller, verb, bucket, key string) error
