// Package sts serves the one operation of the AWS Security Token Service that
// clients use to ask who they are, GetCallerIdentity, in the Query protocol.
// Handing out credentials is not its job.
package sts

import (
	"bytes"
	"encoding/xml"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
)

const (
	version   = "2011-06-15"
	namespace = "https://sts.amazonaws.com/doc/" + version + "/"
)

// others are the service's operations that Slipway does not have.
var others = []string{
	"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot", "DecodeAuthorizationMessage",
	"GetAccessKeyInfo", "GetDelegatedAccessToken", "GetFederationToken", "GetSessionToken", "GetWebIdentityToken",
}

// New returns the handler. It expects the caller in the request's context.
func New(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		code := "" // of the error
		status := http.StatusOK
		action, e := actionOf(r)
		if e == nil {
			e = serve(w, r)
		}
		if e != nil {
			code, status = e.Code, e.Status
			awserr.WriteQuery(w, namespace, e)
		}
		log.InfoContext(r.Context(), "request served", "service", "sts", "op", action, "status", status, "code", code,
			"request_id", awserr.RequestID(w.Header()), "duration", time.Since(started))
	})
}

// actionOf reads the operation, which must be GetCallerIdentity. It names only
// what may stand in a log.
func actionOf(r *http.Request) (string, *awserr.Error) {
	if err := r.ParseForm(); err != nil {
		return "", &awserr.Error{Code: "MalformedQueryString", Status: http.StatusBadRequest, Message: "The request's parameters could not be read."}
	}
	action, v := r.Form.Get("Action"), r.Form.Get("Version")
	switch {
	case action == "":
		return "", &awserr.Error{Code: "MissingAction", Status: http.StatusBadRequest, Message: "The request is missing an action or a required parameter."}
	case slices.Contains(others, action):
		return action, &awserr.Error{Code: "InvalidAction", Status: http.StatusBadRequest, Message: "The operation " + action + " is not implemented by Slipway."}
	case action != "GetCallerIdentity" || v != version:
		return "", &awserr.Error{Code: "InvalidAction", Status: http.StatusBadRequest, Message: "Could not find operation " + clip(action) + " for version " + clip(v)}
	}
	return action, nil
}

// response is what GetCallerIdentity answers.
type response struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func serve(w http.ResponseWriter, r *http.Request) *awserr.Error {
	c, ok := access.From(r.Context())
	if !ok {
		return &awserr.Error{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: "internal error"}
	}
	var b bytes.Buffer
	out := response{ARN: c.ARN, UserID: c.UserID, Account: c.Account, RequestID: awserr.RequestID(w.Header())}
	if err := xml.NewEncoder(&b).Encode(out); err != nil { // four strings: it cannot be
		return &awserr.Error{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: "internal error"}
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes()) // the client is gone; nobody to tell
	return nil
}

// clip keeps what a message echoes short.
func clip(s string) string { return s[:min(len(s), 128)] }
