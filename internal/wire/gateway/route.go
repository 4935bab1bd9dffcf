package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awshost"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/awsquery"
	"github.com/slipway-ml/slipway/internal/wire/cborrpc"
	"github.com/slipway-ml/slipway/internal/wire/restjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
	"github.com/slipway-ml/slipway/internal/wire/shape/sts"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// A route leads the requests that meet all its conditions somewhere.
type route struct {
	name string // of where it leads, for those who read and test the table
	when when
	to   http.HandlerFunc
}

type when []func(*addressed) bool

// addressed is a request, with what it says of the API that it addresses.
type addressed struct {
	*http.Request
	scope  string // the service that it was signed for, "" if that cannot be read
	target string // its operation, in the APIs that name it in a header
}

// table holds the routes. A request takes the first whose conditions it meets:
// what it was signed for decides, and where that is not to be read its target
// and shape do (spec §1.1).
func (g *gateway) table() []route {
	var (
		inJSON    = awsjson.New(sagemaker.API())
		cloudCBOR = cborrpc.New(cloudwatch.API())
		cloudJSON = awsjson.New(cloudwatch.API())
		stsQuery  = awsquery.New(sts.API())

		edge = g.whole(
			api{handler: g.Edge, service: "sagemaker", protocol: restjson.New(sagemakeredge.API()), devices: true},
		)
		security   = g.whole(api{handler: g.STS, service: "sts", protocol: stsQuery, devices: true})
		sageMaker  = g.whole(api{handler: g.SageMaker, service: "sagemaker", protocol: inJSON})
		own        = g.whole(api{handler: g.Slipway, service: "sagemaker", protocol: awsjson.New(slipway.API())})
		things     = g.whole(api{handler: g.IoT, protocol: restjson.New(iot.API())})
		unknown    = g.whole(api{handler: g.unknownOperation(inJSON), protocol: inJSON})
		cloudWatch = func(p rpc.Protocol) http.HandlerFunc {
			return g.whole(api{handler: g.CloudWatch, service: "monitoring", protocol: p})
		}
	)
	return slices.Concat([]route{
		{"S3 forms", when{scope(""), method(http.MethodPost), isForm, there(g.S3)}, g.postForm},
		{"S3", when{ofBucket}, g.s3}, // whatever its key is called
		{"health", when{path("/healthz")}, g.probe(g.health)},
		{"readiness", when{path("/readyz")}, g.probe(g.readiness)},
		{"metrics", when{path("/metrics")}, g.metrics},

		{"unserved service", when{elsewhere}, g.unserved},
		{"unserved service", when{scope("s3"), below(s3Control)}, g.unserved},
		{"S3", when{scope("s3")}, g.s3},
		{"S3", when{signedV2}, g.s3},
	}, edgeRoutes(edge), []route{
		{"IoT", when{scope("iot", "execute-api"), target("")}, things}, // SDKs before 2023 sign IoT for the latter
		{"enrollment", when{scope(""), method(http.MethodPost), path("/enroll"), there(g.Enroll)}, g.enroll},
		{"runtime", when{below("/endpoints/")}, g.runtime},
		{"console", when{below("/console/"), there(g.Console)}, g.console},
		{"console", when{path("/"), browses, there(g.Console)}, g.console},
		{"STS", when{scope("sts")}, security},

		{"CloudWatch in CBOR", when{claimed(cloudCBOR)}, cloudWatch(cloudCBOR)},
		{"CloudWatch in JSON", when{targetOf(cloudwatch.API().TargetPrefix)}, cloudWatch(cloudJSON)},
		{"CloudWatch in JSON", when{scope("monitoring"), claimed(cloudJSON)}, cloudWatch(cloudJSON)},
		{"CloudWatch in Query", when{scope("monitoring")}, cloudWatch(awsquery.New(cloudwatch.API()))},

		{"SageMaker", when{targetOf(sagemaker.API().TargetPrefix)}, sageMaker},
		{"Slipway", when{targetOf(slipway.API().TargetPrefix)}, own},
		{"unknown operation", when{claimed(inJSON)}, unknown},
		{"unknown operation", when{scope("sagemaker")}, unknown},

		{"STS", when{claimed(stsQuery)}, security},
		{"unknown operation", when{method(http.MethodPost), path("/")}, unknown},
		{"S3", nil, g.s3}, // it speaks of buckets, or of nothing else either
	})
}

// routeOf returns the route that a request takes.
func (g *gateway) routeOf(r *http.Request) *route {
	_, service := sigv4.ScopeOf(sigv4.FromHTTP(r))
	a := &addressed{r, service, r.Header.Get("X-Amz-Target")}
	i := slices.IndexFunc(g.routes, func(rt route) bool { return rt.when.met(a) })
	return &g.routes[i] // the last has no condition
}

func (w when) met(a *addressed) bool {
	return !slices.ContainsFunc(w, func(holds func(*addressed) bool) bool { return !holds(a) })
}

// edgeRoutes lead to the calls that devices make, each of which has a path.
func edgeRoutes(to http.HandlerFunc) (out []route) {
	for _, op := range sagemakeredge.API().Operations {
		out = append(out, route{"Edge", when{scope("sagemaker", ""), path(op.URI)}, to})
	}
	return out
}

func scope(services ...string) func(*addressed) bool {
	return func(a *addressed) bool { return slices.Contains(services, a.scope) }
}

// ofBucket is met by a request whose host is a bucket's, as AWS names them.
func ofBucket(a *addressed) bool {
	n, ok := awshost.Parse(a.Host)
	return ok && n.Bucket != ""
}

// OfS3 reports whether a request whose path is that of an invocation is S3's: its
// host is a bucket's, so that all of its path is a key.
func OfS3(r sigv4.Request) bool {
	host, _ := r.Header("host")
	if !strings.Contains(host, "amazonaws") && !strings.Contains(host, ".localhost") {
		return false // at a glance: invocations are many
	}
	if n, ok := awshost.Parse(host); ok {
		return n.Bucket != ""
	}
	_, service := sigv4.ScopeOf(r)
	return awshost.Bucket(host) != "" && (service == "s3" || strings.Contains(r.Query(), "AWSAccessKeyId="))
}

func signedV2(a *addressed) bool { return sigv4.IsV2(a.Request) }

func target(t string) func(*addressed) bool { return func(a *addressed) bool { return a.target == t } }

// targetOf is met by the target of any operation of the service with the prefix.
func targetOf(prefix string) func(*addressed) bool {
	return func(a *addressed) bool { return strings.HasPrefix(a.target, prefix+".") }
}

func method(m string) func(*addressed) bool { return func(a *addressed) bool { return a.Method == m } }

func path(p string) func(*addressed) bool { return func(a *addressed) bool { return a.URL.Path == p } }

func below(folder string) func(*addressed) bool {
	return func(a *addressed) bool { return strings.HasPrefix(a.URL.Path, folder) }
}

// claimed is met by what is written in the protocol.
func claimed(p rpc.Protocol) func(*addressed) bool {
	return func(a *addressed) bool { return p.Claims(a.Request) }
}

// there is met if the handler is there at all.
func there(h http.Handler) func(*addressed) bool { return func(*addressed) bool { return h != nil } }

// browses is met by a person with a browser.
func browses(a *addressed) bool {
	_, signed := a.Header["Authorization"]
	return a.Method == http.MethodGet && !signed && a.URL.RawQuery == "" &&
		strings.Contains(a.Header.Get("Accept"), "text/html")
}
