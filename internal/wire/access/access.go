// Package access says who is calling and what they may do: the caller in a
// request's context, the keys that callers sign with, and the one place where
// an action is allowed or refused. Checking signatures is not its job.
package access

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Caller is whoever signed the request in hand.
type Caller struct {
	AccessKeyID string
	ARN         string // of the identity
	UserID      string
	Account     string // twelve digits
	Region      string // that the request was signed for
}

// CallerOf returns the caller that an identity is, in the server's account.
func CallerOf(id sigv4.Identity, account string) Caller {
	return Caller{AccessKeyID: id.AccessKeyID, ARN: id.ARN, UserID: id.UserID, Account: account, Region: id.Region}
}

// Scope returns where the names that the caller uses are unique.
func (c Caller) Scope() arn.Scope { return arn.Scope{Region: c.Region, Account: c.Account} }

type contextKey struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From returns the caller that ctx carries.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(contextKey{}).(Caller)
	return c, ok
}

// Allow decides whether the caller may do action, such as
// "sagemaker:CreateModel", to resource, an ARN. Every key is an administrator's
// today, so everything is allowed; policies will be judged here and nowhere
// else. A refusal is a fault.Denied.
func Allow(Caller, string, string) error { return nil }
