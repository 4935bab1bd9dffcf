package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// edgePaths are the calls that devices make.
var edgePaths = map[string]bool{"/GetDeployments": true, "/GetDeviceRegistration": true, "/SendHeartbeat": true}

// maxEnrolment bounds the body of an enrolment, in bytes.
const maxEnrolment = 64 << 10

// enroll hands on the request of a device that has no credentials yet: what it
// brings instead is judged there.
func (g *gateway) enroll(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxEnrolment)
	g.Enroll.ServeHTTP(w, r)
}

// admit lets a device through that has a certificate still, and that has
// business behind this gateway. In another region another device may have its name.
// Anybody else may pass.
func (g *gateway) admit(c access.Caller, open bool) error {
	if c.Device == nil {
		return nil
	}
	if err := g.alive(c); err != nil {
		return err
	}
	if !open || c.Device.Region != "" && c.Device.Region != c.Region {
		return denied(c)
	}
	return nil
}

// alive refuses a device whose certificate is no good any more.
func (g *gateway) alive(c access.Caller) error {
	if g.SessionAlive != nil && !g.SessionAlive(*c.Device) {
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
func (g *gateway) deviceObject(r *http.Request, c access.Caller) error {
	if c.Device == nil {
		return nil
	}
	if err := g.alive(c); err != nil {
		return err
	}
	o, ok := objectOf(r)
	if !ok || g.DeviceObject == nil {
		return denied(c)
	}
	if c.Device.Region != "" {
		c.Region = c.Device.Region
	}
	if o.Access == edge.WriteObject {
		r.Header.Set("If-None-Match", "*")
	}
	return g.DeviceObject(r.Context(), c, o)
}

// objectOf says what a request wants of which object, and false if it is not one
// of the three things that a device may want. Whatever would make S3 understand
// the request otherwise is refused: a bucket in the host's name, a parameter
// that asks for a part of an object or for something about it, a copy.
func objectOf(r *http.Request) (o edge.ObjectRequest, ok bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".localhost") || r.Header.Get("X-Amz-Copy-Source") != "" {
		return o, false
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return o, false
	}
	location := false
	for name := range query {
		switch lower := strings.ToLower(name); {
		case name == "location":
			location = true
		case name == "x-id", strings.HasPrefix(lower, "x-amz-"):
		case name == "AWSAccessKeyId", name == "Signature", name == "Expires":
		default:
			return o, false
		}
	}
	o.Bucket, o.Key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case o.Bucket == "":
	case o.Key == "" && location && r.Method == http.MethodGet:
		o.Access = edge.LocateBucket
	case o.Key == "" || location:
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		o.Access = edge.ReadObject
	case r.Method == http.MethodPut:
		o.Access = edge.WriteObject
	}
	return o, o.Access != ""
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

// DeviceObject decides whether a device may have what it asks for. A refusal is
// a fault.Denied.
type DeviceObject func(ctx context.Context, c access.Caller, r edge.ObjectRequest) error
