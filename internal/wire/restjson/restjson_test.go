package restjson_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/restjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakeredge"
)

var at = time.UnixMilli(1795290785123).UTC()

// things is a small IoT: it answers by the names that it is given.
func things(log *slog.Logger) *rpc.Handler {
	return rpc.NewHandler(
		rpc.Config{
			Service: iot.API(), Protocols: []rpc.Speaker{restjson.New}, Errors: awserr.IoT, Log: log, MaxBody: 4096,
		},
		rpc.Bind("CreateThing", func(_ context.Context, in iot.CreateThingRequest) (iot.CreateThingResponse, error) {
			if *in.ThingName == "there" {
				return iot.CreateThingResponse{}, &awserr.Error{
					Code: "ResourceAlreadyExistsException", Status: http.StatusConflict,
					Message: "Thing there already exists.",
					Members: map[string]any{"resourceArn": "arn:aws:iot:us-east-1:123456789012:thing/there"},
				}
			}
			return iot.CreateThingResponse{
				ThingName: in.ThingName, ThingArn: in.ThingTypeName, ThingId: new(in.AttributePayload.Attributes["k"]),
			}, nil
		}),
		rpc.Bind("DescribeThing", func(
			_ context.Context, in iot.DescribeThingRequest,
		) (iot.DescribeThingResponse, error) {
			if *in.ThingName == "missing" {
				return iot.DescribeThingResponse{}, &awserr.Error{
					Code: "ResourceNotFoundException", Status: http.StatusNotFound,
					Message: "Thing missing does not exist.",
				}
			}
			return iot.DescribeThingResponse{ThingName: in.ThingName, Version: new(int64(1 << 40))}, nil
		}),
		rpc.Bind("DeleteThing", func(_ context.Context, in iot.DeleteThingRequest) (iot.DeleteThingResponse, error) {
			if in.ExpectedVersion != nil && *in.ExpectedVersion != 7 {
				return iot.DeleteThingResponse{}, fault.New(fault.Invalid, "version %d", *in.ExpectedVersion)
			}
			return iot.DeleteThingResponse{}, nil
		}),
		rpc.Bind("ListThings", func(_ context.Context, in iot.ListThingsRequest) (iot.ListThingsResponse, error) {
			said := fmt.Sprintf(
				"%d %t %s %s", shape.Val(in.MaxResults), shape.Val(in.UsePrefixAttributeValue),
				shape.Val(in.AttributeName),
				shape.Val(in.NextToken),
			)
			return iot.ListThingsResponse{Things: []iot.ThingAttribute{{ThingName: &said}}}, nil
		}),
		rpc.Bind("AttachThingPrincipal", func(
			_ context.Context, in iot.AttachThingPrincipalRequest,
		) (iot.AttachThingPrincipalResponse, error) {
			if *in.Principal != "arn:aws:iot:us-east-1:123456789012:cert/0a" {
				return iot.AttachThingPrincipalResponse{}, fault.New(fault.Invalid, "principal %s", *in.Principal)
			}
			return iot.AttachThingPrincipalResponse{}, nil
		}),
		rpc.Bind("AttachPolicy", func(context.Context, iot.AttachPolicyRequest) (shape.None, error) {
			return shape.None{}, nil
		}),
		rpc.Bind("CreateKeysAndCertificate", func(
			_ context.Context, in iot.CreateKeysAndCertificateRequest,
		) (iot.CreateKeysAndCertificateResponse, error) {
			return iot.CreateKeysAndCertificateResponse{
				CertificateId: new(fmt.Sprint(shape.Val(in.SetAsActive))),
				KeyPair:       &iot.KeyPair{PublicKey: new("pub"), PrivateKey: new("priv")},
			}, nil
		}),
		rpc.Bind("DescribeRoleAlias", func(
			_ context.Context, in iot.DescribeRoleAliasRequest,
		) (iot.DescribeRoleAliasResponse, error) {
			return iot.DescribeRoleAliasResponse{RoleAliasDescription: &iot.RoleAliasDescription{
				RoleAlias: in.RoleAlias, CredentialDurationSeconds: new(int32(3600)), CreationDate: shape.At(at),
			}}, nil
		}),
	)
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func answer(
	h http.Handler, method, target, body string, header http.Header,
) (status int, text string, head http.Header) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Result().Header
}

func TestARequestIsReadFromItsPathQueryHeadersAndBody(t *testing.T) {
	h := things(logger(t))
	for name, tt := range map[string]struct {
		method, target, body string
		header               http.Header
		status               int
		want                 string
	}{
		"a label": {
			"GET", "/things/a:b-_1", "", nil, 200, `{"thingName":"a:b-_1","version":1099511627776}`,
		},
		"a label, escaped": {
			"GET", "/things/a%3Ab", "", nil, 200, `{"thingName":"a:b","version":1099511627776}`,
		},
		"a slash in a label is no separator": {
			"GET", "/things/a%2Fb", "", nil, 400,
			`{"message":"1 validation error detected: Value 'a/b' at 'thingName' failed to satisfy constraint: ` +
				`Member must satisfy regular expression pattern: ^[a-zA-Z0-9:_-]+"}`,
		},
		"a label and a body": {
			"POST", "/things/a", `{"thingTypeName":"T","thingName":"b","attributePayload":{"attributes":{"k":"v"}}}`,
			nil, 200, `{"thingName":"a","thingArn":"T","thingId":"v"}`,
		},
		"a query": {
			"GET", "/things?maxResults=7&usePrefixAttributeValue=true&attributeName=a%2Cb&nextToken=", "", nil, 200,
			`{"things":[{"thingName":"7 true a,b "}]}`,
		},
		"an absent query": {
			"GET", "/things", "", nil, 200, `{"things":[{"thingName":"0 false  "}]}`,
		},
		"a body where none belongs": {
			"GET", "/things", "garbage", nil, 200, `{"things":[{"thingName":"0 false  "}]}`,
		},
		"a query with an empty number": {"DELETE", "/things/a?expectedVersion=", "", nil, 200, `{}`},
		"a query with a number":        {"DELETE", "/things/a?expectedVersion=7", "", nil, 200, `{}`},
		"a query with no number": {
			"DELETE", "/things/a?expectedVersion=x", "", nil, 400,
			`{"message":"STRING_VALUE can not be converted to a Long"}`,
		},
		"a query beyond its maximum": {
			"GET", "/things?maxResults=251", "", nil, 400,
			`{"message":"1 validation error detected: Value '251' at 'maxResults' failed to satisfy constraint: ` +
				`Member must have value less than or equal to 250"}`,
		},
		"a query that is none": {
			"GET", "/things?maxResults=%zz", "", nil, 400, `{"message":"The query of the URL could not be read."}`,
		},
		"a header": {
			"PUT", "/things/a/principals", "",
			http.Header{"X-Amzn-Principal": {"arn:aws:iot:us-east-1:123456789012:cert/0a"}},
			200, `{}`,
		},
		"a header that is required": {
			"PUT", "/things/a/principals", `{"principal":"p"}`, nil, 400,
			`{"message":"1 validation error detected: Value null at 'principal' failed to satisfy constraint: Member ` +
				`must not be null"}`,
		},
		"a boolean in the query": {
			"POST", "/keys-and-certificate?setAsActive=true", "", nil, 200,
			`{"certificateId":"true","keyPair":{"PublicKey":"pub","PrivateKey":"priv"}}`,
		},
		"an answer of nothing": {"PUT", "/target-policies/p", `{"target":"t"}`, nil, 200, ``},
		"a time in the answer": {
			"GET", "/role-aliases/r", "", nil, 200,
			`{"roleAliasDescription":{"roleAlias":"r","credentialDurationSeconds":3600,"creationDate":1795290785.123}}`,
		},
		"a body that is no JSON": {
			"POST", "/things/a", `{`, nil, 400, `{"message":"The request body is not valid JSON (byte 1)."}`,
		},
		"a body that is too large": {
			"POST", "/things/a", strings.Repeat(" ", 5000), nil, 413,
			`{"message":"The request body has more than 4096 bytes."}`,
		},
		"an error with members": {
			"POST", "/things/there", `{}`, nil, 409,
			`{"message":"Thing there already exists.","resourceArn":"arn:aws:iot:us-east-1:123456789012:thing/there"}`,
		},
		"an operation that is not served": {
			"GET", "/thing-types/x", "", nil, 400,
			`{"message":"The operation DescribeThingType is not implemented by Slipway."}`,
		},
		"no such path": {
			"GET", "/nothing", "", nil, 404, `{"message":"No operation is known at GET /nothing"}`,
		},
		"no such method": {
			"PATCH", "/things/a", "", nil, 404, `{"message":"No operation is known at PATCH /things/a"}`,
		},
		"an empty label": {
			"GET", "/things/", "", nil, 404, `{"message":"No operation is known at GET /things/"}`,
		},
		"a label too many": {
			"GET", "/things/a/b/c", "", nil, 404, `{"message":"No operation is known at GET /things/a/b/c"}`,
		},
		"no more of a path than there is to be": {
			"GET", "/" + strings.Repeat("x/", 200), "", nil, 404,
			`{"message":"No operation is known at GET /` + strings.Repeat("x/", 127) + `x..."}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, got, head := answer(h, tt.method, tt.target, tt.body, tt.header)
			if status != tt.status || got != tt.want {
				t.Errorf("%d %s\nwant\n%d %s", status, got, tt.status, tt.want)
			}
			if (status == 200) != (head.Get("x-amzn-ErrorType") == "") || head.Get("x-amzn-RequestId") == "" {
				t.Error(head)
			}
		})
	}
}

func TestHintsTravelInHeadersBesideTheBody(t *testing.T) {
	h := rpc.NewHandler(
		rpc.Config{
			Service: sagemakeredge.API(), Protocols: []rpc.Speaker{restjson.New}, Errors: awserr.SageMakerEdge,
			Log: logger(t),
		},
		rpc.Bind("SendHeartbeat", func(
			_ context.Context, in sagemakeredge.SendHeartbeatRequest,
		) (sagemakeredge.SendHeartbeatResult, error) {
			n := len(slices.Collect(in.AgentMetrics.Elements))
			return sagemakeredge.SendHeartbeatResult{PollAfter: new(int32(n)), HeartbeatAfter: new(int32(1))}, nil
		}),
		rpc.Bind("GetDeployments", func(
			context.Context, sagemakeredge.GetDeploymentsRequest,
		) (sagemakeredge.GetDeploymentsResult, error) {
			return sagemakeredge.GetDeploymentsResult{
				PollAfter: new(int32(9)), Deployments: []sagemakeredge.EdgeDeployment{},
			}, nil
		}),
	)
	const device = `"DeviceName":"d","DeviceFleetName":"f"`
	for name, tt := range map[string]struct{ path, body, want, poll, heartbeat string }{
		"no body": {"/SendHeartbeat", `{` + device + `,"AgentVersion":"1"}`, "", "0", "1"},
		"metrics of any kind": {
			"/SendHeartbeat", `{` + device + `,"AgentVersion":"1","AgentMetrics":[1, "x", {"Value":[]} ]}`, "", "3",
			"1",
		},
		"metrics that are none": {
			"/SendHeartbeat", `{` + device + `,"AgentVersion":"1","AgentMetrics":{"a":1}}`, "", "0", "1",
		},
		"a body and a header": {"/GetDeployments", `{` + device + `}`, `{"Deployments":[]}`, "9", ""},
		"a header is not in a body": {
			"/GetDeployments", `{` + device + `,"PollAfter":1}`, `{"Deployments":[]}`, "9", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, got, head := answer(h, "POST", tt.path, tt.body, nil)
			if status != 200 || got != tt.want || head.Get("X-Slipway-Poll-After") != tt.poll ||
				head.Get("X-Slipway-Heartbeat-After") != tt.heartbeat {
				t.Errorf("%d %q %v", status, got, head)
			}
		})
	}
	if status, got, head := answer(h, "POST", "/SendHeartbeat", `{}`, nil); status != 400 ||
		!strings.HasPrefix(got, `{"Message":"3 validation errors`) ||
		head.Get("x-amzn-ErrorType") != "ValidationException" {
		t.Error(status, got, head)
	}
}

func TestWhatTheProtocolDoesNotKnowIsRefusedAtTheStart(t *testing.T) {
	text := &shape.Shape{Name: "S", Kind: shape.String}
	in := func(m shape.Member) *shape.Shape {
		return &shape.Shape{Name: "I", Kind: shape.Structure, Members: []shape.Member{m}}
	}
	for name, op := range map[string]shape.Operation{
		"a greedy label":      {Name: "A", Method: "GET", URI: "/{key+}"},
		"a query in the path": {Name: "A", Method: "GET", URI: "/a?b=c"},
		"a label nowhere": {Name: "A", Method: "GET", URI: "/a", Input: in(
			shape.Member{Name: "L", Shape: text, Location: "uri", Wire: "l"},
		)},
		"a payload": {
			Name: "A", Method: "GET", URI: "/a", Input: in(shape.Member{Name: "L", Shape: text, Location: "payload"}),
		},
		"an answer in a status code": {Name: "A", Method: "GET", URI: "/a", Output: in(
			shape.Member{Name: "L", Shape: text, Location: "statusCode"},
		)},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			restjson.New(&shape.Service{Name: "s", Operations: []shape.Operation{op}})
		})
	}
}

func FuzzNoPathMakesTheProtocolFail(f *testing.F) {
	f.Add("GET", "/things/a%2Fb?maxResults=1", "{}")
	f.Add("PUT", "//things//principals", `{"x":[1]}`)
	h := things(slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequest(method, "http://h", bytes.NewReader([]byte(body)))
		if err != nil {
			return
		}
		if r.URL, err = r.URL.Parse(target); err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	})
}
