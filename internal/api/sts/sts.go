// Package sts serves the one operation of the AWS Security Token Service that
// clients use to ask who they are, GetCallerIdentity, in the Query protocol.
// Handing out credentials is not its job.
package sts

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape/sts"
)

// New returns the handler. It expects the caller in the request's context.
func New(log *slog.Logger) http.Handler {
	return rpc.NewHandler(
		rpc.Config{Service: sts.API(), Protocols: []rpc.Speaker{awsquery.New}, Errors: awserr.STS, Log: log},
		rpc.Bind("GetCallerIdentity", getCallerIdentity),
	)
}

func getCallerIdentity(ctx context.Context, _ sts.GetCallerIdentityRequest) (sts.GetCallerIdentityResponse, error) {
	c, err := access.From(ctx)
	if err != nil {
		return sts.GetCallerIdentityResponse{}, err
	}
	return sts.GetCallerIdentityResponse{Arn: &c.ARN, UserId: &c.UserID, Account: &c.Account}, nil
}
