package gateway

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// servedScopes are the services that requests are signed for here. SDKs before
// 2023 sign IoT for execute-api.
var servedScopes = []string{"sagemaker", "s3", "monitoring", "sts", "iot", "execute-api"}

// elsewhere is met by what was signed for a service that is not served here.
func elsewhere(a *addressed) bool { return a.scope != "" && !slices.Contains(servedScopes, a.scope) }

// s3Control is where the calls of S3 Control begin, which are signed as S3's.
const s3Control = "/v20180820/"

// isForm is met by a form that a browser posts to a bucket.
func isForm(a *addressed) bool {
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")) // "" if it cannot be read
	return kind == "multipart/form-data"
}

// unserved answers for a service that is not here, without asking who calls:
// clients that know what to do without a service look for the code of a denial,
// and can read it in their own protocol alone.
func (g *gateway) unserved(w http.ResponseWriter, r *http.Request) {
	_, service := sigv4.ScopeOf(sigv4.FromHTTP(r))
	if strings.HasPrefix(r.URL.Path, s3Control) && service == "s3" {
		service = "s3control"
	}
	e := notServed(service)
	g.logRefusal(w, r, service, e.Status, e.Code)
	contentType := r.Header.Get("Content-Type")
	switch {
	case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		awserr.WriteCBOR(w, "com.amazonaws."+service, e)
	case r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(contentType, "application/x-amz-json-"):
		version := "1.1"
		if strings.Contains(contentType, "json-1.0") {
			version = "1.0"
		}
		awserr.WriteJSON(w, version, e)
	case service == "ec2":
		awserr.WriteEC2(w, e)
	case inXML(service, r):
		awserr.WriteQuery(w, "https://"+service+".amazonaws.com/doc/"+r.URL.Query().Get("Version"), e)
	default:
		awserr.WriteREST(w, e)
	}
}

// inXML reports whether a client reads XML: it sent a form, or the service speaks
// nothing else.
func inXML(service string, r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") ||
		r.URL.Query().Has("Action") || strings.Contains(r.Header.Get("Content-Type"), "xml") ||
		strings.HasPrefix(service, "s3") || slices.Contains([]string{"route53", "cloudfront"}, service)
}

// notServed is the refusal of a service.
func notServed(service string) *awserr.Error {
	return &awserr.Error{
		Code: "AccessDeniedException", Query: "AccessDenied", Status: http.StatusForbidden,
		Message: "The service " + service + " is not served by Slipway. Slipway serves SageMaker and its runtime, " +
			"SageMaker Edge, CloudWatch, S3, STS and IoT.",
	}
}
