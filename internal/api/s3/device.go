package s3

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awshost"
)

// ForDevices returns what the gateway asks about a device's request: one for an
// object that allow lets it have may be served, and nothing else. What is there
// already, a device does not overwrite.
func ForDevices(
	allow func(context.Context, arn.Scope, edge.Caller, edge.ObjectRequest) error,
) func(*http.Request, access.Caller) error {
	return func(r *http.Request, c access.Caller) error {
		o, ok := objectOf(r)
		if !ok {
			return access.Denied(c)
		}
		if o.Access == edge.WriteObject {
			r.Header.Set("If-None-Match", "*")
		}
		return allow(r.Context(), c.Scope(), edge.Caller{Thing: c.Device.Thing, Alias: c.Device.Alias}, o)
	}
}

// objectOf says what a request wants of which object, and false if it is not one
// of the three things that a device may want. Whatever would make S3 understand
// the request otherwise is refused: a bucket in the host's name, a parameter
// that asks for a part of an object or for something about it, a copy.
func objectOf(r *http.Request) (o edge.ObjectRequest, ok bool) {
	if awshost.Bucket(r.Host) != "" || r.Header.Get("X-Amz-Copy-Source") != "" {
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
