// Package access says who is calling and what they may do: the caller in a
// request's context, the keys that callers sign with, and the one place where
// an action is allowed or refused. Checking signatures is not its job.
package access

import (
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Caller is whoever signed the request in hand.
type Caller struct {
	AccessKeyID string
	ARN         string // of the identity
	UserID      string
	Account     string  // twelve digits
	Region      string  // that the request was signed for
	Device      *Device // nil for an administrator

	request *Request // that is in hand; nil outside the gateway
}

// Device is a caller with the temporary credentials of a device. It may do
// little, and that only for itself.
type Device struct {
	Thing         string // "" if its certificate is attached to none
	Alias         string // the role alias that the credentials came through
	CertificateID string
	Region        string // where the thing is, "" if that does not matter
}

// CallerOf returns the caller that an identity is, in the server's account.
func CallerOf(id sigv4.Identity, account string) Caller {
	c := Caller{AccessKeyID: id.AccessKeyID, ARN: id.ARN, UserID: id.UserID, Account: account, Region: id.Region}
	if s := id.Session; s != nil {
		c.Device = &Device{Thing: s.Thing, Alias: s.Alias, CertificateID: s.CertificateID, Region: s.Region}
	}
	return c
}

// Scope returns where the names that the caller uses are unique.
func (c Caller) Scope() arn.Scope { return arn.Scope{Region: c.Region, Account: c.Account} }

type contextKey struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Caller) context.Context {
	c.request, _ = ctx.Value(requestKey{}).(*Request)
	return context.WithValue(ctx, contextKey{}, c)
}

// From returns the caller that ctx carries. That there is none is a mistake of
// ours: the gateway was left out.
func From(ctx context.Context) (Caller, error) {
	c, ok := ctx.Value(contextKey{}).(Caller)
	if !ok {
		return c, errors.New("a request without a caller")
	}
	return c, nil
}

// ofDevices are the actions that a device may do. For which device, and to
// which object, is decided where the names are known.
var ofDevices = map[string]bool{
	"sagemaker:GetDeployments": true, "sagemaker:GetDeviceRegistration": true, "sagemaker:SendHeartbeat": true,
	"s3:GetObject": true, "s3:HeadObject": true, "s3:PutObject": true, "s3:GetBucketLocation": true,
	"sts:GetCallerIdentity": true,
}

// Allow decides whether the caller may do action, such as
// "sagemaker:CreateModel", to resource, an ARN. Every key is an administrator's
// today, and may do everything; a device may do next to nothing. Policies will
// be evaluated here and nowhere else. A refusal is a fault.Denied.
func Allow(c Caller, action, resource string) error {
	if c.request != nil {
		c.request.action, c.request.resource = action, resource
	}
	if c.Device == nil || ofDevices[action] {
		return nil
	}
	return fault.New(fault.Denied, "User: %s is not authorized to perform: %s on resource: %s", c.ARN, action, resource)
}

// Denied is the refusal of a request whose action is not known.
func Denied(c Caller) error {
	return fault.New(fault.Denied, "User: %s is not authorized to perform this operation", c.ARN)
}

// Scope returns where the names that the caller in ctx uses live, if the caller
// may do action, such as "sagemaker:CreateModel", to a resource, which is named
// from the scope on.
func Scope(ctx context.Context, action string, resource func(arn.Scope) string) (arn.Scope, error) {
	c, err := Authorize(ctx, action, resource)
	return c.Scope(), err
}

// Authorize is Scope for those who need the whole caller.
func Authorize(ctx context.Context, action string, resource func(arn.Scope) string) (Caller, error) {
	c, err := From(ctx)
	if err != nil {
		return c, err
	}
	return c, Allow(c, action, resource(c.Scope()))
}

// Everything is the resource of operations that permissions do not narrow.
func Everything(arn.Scope) string { return "*" }
