package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// s3 verifies a request and hands it on with its body, which is checked while it
// is read: an object need not fit into memory.
func (g *gateway) s3(w http.ResponseWriter, r *http.Request) {
	if g.S3 == nil {
		awserr.WriteQuery(w, "", notServed("s3"))
		return
	}
	id, payload, err := g.Verifier.VerifyS3(r, time.Now())
	if err != nil {
		if _, ok := errors.AsType[*sigv4.Error](err); !ok {
			err = sigv4.Missing()
		}
		g.refuseS3(w, r, err)
		return
	}
	c := g.caller(id)
	if err := g.deviceInS3(r, c); err != nil {
		g.refuseS3(w, r, err)
		return
	}
	connlimit.Prove(r.Context(), id.Holder())
	r = r.WithContext(access.With(heard(r), c))
	r.Body = payload
	g.S3.ServeHTTP(w, r)
}

// postForm answers a form that a browser posts to a bucket, whose signature is
// among its fields.
func (g *gateway) postForm(w http.ResponseWriter, r *http.Request) {
	const status, code = http.StatusNotImplemented, "NotImplemented"
	g.logRefusal(w, r, "s3", status, code)
	g.S3.Refuse(w, r, status, code, "POST forms (PostObject) are not implemented by Slipway. Presign a PUT instead.")
}

// deviceInS3 lets a device make the requests that DeviceS3 lets it make. In
// whatever region it signs them, it is the device of its own.
func (g *gateway) deviceInS3(r *http.Request, c access.Caller) error {
	switch {
	case c.Device == nil:
		return nil
	case !g.alive(c):
		return sigv4.BadToken()
	case g.DeviceS3 == nil:
		return access.Denied(c)
	}
	if c.Device.Region != "" {
		c.Region = c.Device.Region
	}
	if err := g.DeviceS3(r, c); err != nil {
		return fmt.Errorf("device %q: %w", c.Device.Thing, err)
	}
	return nil
}

func (g *gateway) refuseS3(w http.ResponseWriter, r *http.Request, err error) {
	e := refusal(err, sigv4.StyleS3)
	if e.Status >= http.StatusInternalServerError {
		g.Log.ErrorContext(r.Context(), "rights of a device not known", "err", err)
	}
	g.logRefusal(w, r, "s3", e.Status, e.Code)
	g.S3.Refuse(w, r, e.Status, e.Code, e.Message)
}
