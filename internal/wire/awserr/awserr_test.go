package awserr_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakerruntime"
)

func TestEveryKindOfFaultHasAnAnswerInEveryService(t *testing.T) {
	for s := awserr.SageMaker; s <= awserr.IoT; s++ {
		for k := fault.Internal; k <= fault.Unsupported; k++ {
			if e := awserr.Of(s, "Any", fault.New(k, "x")); e.Status < 400 || e.Status > 599 {
				t.Errorf("service %d, %v: %d %q", s, k, e.Status, e.Code)
			}
		}
	}
}

// Typed clients know the codes that an operation declares, and the common ones.
func TestOperationsAnswerOnlyWhatTheyDeclareOrWhatAllMaySay(t *testing.T) {
	common := map[string]bool{
		"ValidationException": true, "InternalFailure": true, "ServiceUnavailable": true, "AccessDeniedException": true,
	}
	check := func(s awserr.Service, op string, declared ...string) {
		t.Helper()
		known := map[string]bool{"": s == awserr.Runtime}
		for _, d := range declared {
			known[d] = true
		}
		for k := fault.Internal; k <= fault.Unsupported; k++ {
			if e := awserr.Of(s, op, fault.New(k, "x")); !known[e.Code] && !common[e.Code] {
				t.Errorf("%s answers %s to %q", op, e.Code, k)
			}
		}
	}
	for _, op := range []string{
		"CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities",
		"AddTags",
	} {
		check(awserr.SageMaker, op, sagemaker.API().Operation(op).Errors...)
	}
	for _, op := range sagemakerruntime.API().Operations {
		check(awserr.Runtime, op.Name, op.Errors...)
	}
	for _, op := range cloudwatch.API().Operations {
		check(awserr.CloudWatch, op.Name, op.Errors...)
	}
}

// The facts have the errors, too, with their codes in the Query protocol.
func TestEveryErrorOfCloudWatchIsNamedAsItsModelHasIt(t *testing.T) {
	b, err := os.ReadFile("../shape/facts/cloudwatch.json")
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Shapes map[string]struct {
			Exception bool
			Error     struct {
				Code   string
				Status int `json:"httpStatusCode"`
			}
			Members map[string]any
		}
	}
	if err := json.Unmarshal(b, &facts); err != nil {
		t.Fatal(err)
	}
	n := 0
	for name, s := range facts.Shapes {
		if !s.Exception {
			continue
		}
		n++
		query := s.Error.Code
		if query == "" {
			query = name
		}
		e := awserr.Declared(name, "about %q", "it")
		if e.Code != name || e.Status != s.Error.Status || e.QueryCode() != query || e.Message != `about "it"` {
			t.Errorf("%s: %+v, %s", name, e, e.QueryCode())
		}
		w := httptest.NewRecorder()
		awserr.WriteCBOR(w, "n", e)
		var body map[string]any
		if err := cbor.Unmarshal(w.Body.Bytes(), &body); err != nil || body["__type"] != "n#"+name {
			t.Errorf("%s: %v %v", name, err, body)
		}
		for _, member := range []string{"message", "Message"} {
			if _, modelled := s.Members[member]; modelled && body[member] != `about "it"` {
				t.Errorf("%s has no %s: %v", name, member, body)
			}
		}
	}
	if n != 11 {
		t.Errorf("%d errors were looked at", n)
	}
	defer func() {
		if recover() == nil {
			t.Error("another name was taken")
		}
	}()
	_ = awserr.Declared("ValidationException", "x")
}

func TestTheAnswerDependsOnWhatFailed(t *testing.T) {
	decode := shape.Decode([]byte(`[]`), &sagemaker.ListModelsInput{})
	tests := map[string]struct {
		err    error
		status int
		want   string
	}{
		"a fault":           {fault.New(fault.NotFound, "no such"), 400, "ValidationException: no such"},
		"a quota":           {fault.New(fault.Limit, "too many"), 400, "ResourceLimitExceeded: too many"},
		"something private": {errors.New("password=hunter2"), 500, "InternalFailure: internal error"},
		"a private cause":   {fault.New(fault.Internal, "secret"), 500, "InternalFailure: internal error"},
		"an unreadable body": {
			fmt.Errorf("decode: %w", decode), 400, "SerializationException: The request body must be a JSON object.",
		},
		"an answer of its own": {
			fmt.Errorf("x: %w", &awserr.Error{Code: "ThrottlingException", Status: 400, Message: "Rate exceeded"}), 400,
			"ThrottlingException: Rate exceeded",
		},
		"an unknown operation": {awserr.UnknownOperation(), 400, "UnknownOperationException: "},
		"an operation not there": {
			awserr.NotImplemented("CreateTrainingJob"), 400,
			"UnknownOperationException: The operation CreateTrainingJob is not implemented by Slipway.",
		},
		"a body too large": {
			awserr.TooLarge(10), 413, "RequestEntityTooLargeException: The request body has more than 10 bytes.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if e := awserr.Of(awserr.SageMaker, "CreateModel", tt.err); e.Status != tt.status || e.Error() != tt.want {
				t.Errorf("got %d %s, want %d %s", e.Status, e, tt.status, tt.want)
			}
		})
	}
}

var modelError = &awserr.Error{
	Code: "ModelError", Status: 424, Message: `from primary with message "<b>"`,
	Members: map[string]any{"OriginalStatusCode": 500, "OriginalMessage": "<b>"},
}

// sayings are failures as each protocol says them.
var sayings = map[string]struct {
	write func(w *httptest.ResponseRecorder)
	want  string
}{
	"JSON": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteJSON(w, "1.1", &awserr.Error{Code: "ValidationException", Status: 400, Message: `no "a" & b`})
		},
		`400 application/x-amz-json-1.1 "" {"__type":"ValidationException","message":"no \"a\" & b"}`,
	},
	"JSON, modelled": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteJSON(w, "1.0", &awserr.Error{Code: "ResourceLimitExceeded", Status: 400, Message: "full"})
		},
		`400 application/x-amz-json-1.0 "" {"__type":"ResourceLimitExceeded","Message":"full"}`,
	},
	"REST": {
		func(w *httptest.ResponseRecorder) { awserr.WriteREST(w, modelError) },
		`424 application/json "ModelError" {"Message":"from primary with message \"<b>\"","OriginalMessage":"<b>",` +
			`"OriginalStatusCode":500}`,
	},
	"REST, without a code": {
		func(w *httptest.ResponseRecorder) { awserr.WriteREST(w, &awserr.Error{Status: 413, Message: "long"}) },
		`413 application/json "" {"Message":"long"}`,
	},
	"Query": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteQuery(w, "https://sts.amazonaws.com/doc/2011-06-15/", &awserr.Error{
				Code: "InvalidClientTokenId", Status: 403, Message: "<who>",
			})
		},
		`403 text/xml "" <ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>` +
			`<Code>InvalidClientTokenId</Code><Message>&lt;who&gt;</Message></Error><RequestId>ID</RequestId>` +
			`</ErrorResponse>`,
	},
	"Query, by the name of JSON": {
		func(w *httptest.ResponseRecorder) { awserr.WriteQuery(w, "n", awserr.NotImplemented("Sing")) },
		`400 text/xml "" <ErrorResponse xmlns="n"><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>The ` +
			`operation Sing is not implemented by Slipway.</Message></Error><RequestId>ID</RequestId></ErrorResponse>`,
	},
	"JSON for those who knew Query": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteCompatibleJSON(w, "1.0", "a.b", awserr.Declared("LimitExceededFault", "full"))
		},
		`400 application/x-amz-json-1.0 "" {"__type":"a.b#LimitExceededFault","message":"full"}`,
	},
	"CBOR": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteCBOR(
				w, "a", &awserr.Error{Code: "B", Status: 500, Message: "c\xff", Members: map[string]any{"d": 1}},
			)
		},
		"500 application/cbor \"\" \xa3ad\x01f__typeca#Bgmessagedc\uFFFD",
	},
	"Query, our own fault": {
		func(w *httptest.ResponseRecorder) {
			awserr.WriteQuery(w, "n", awserr.Of(awserr.STS, "GetCallerIdentity", errors.New("x")))
		},
		`500 text/xml "" <ErrorResponse xmlns="n"><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message>` +
			`internal error</Message></Error><RequestId>ID</RequestId></ErrorResponse>`,
	},
}

func TestEachProtocolHasItsOwnWayToSayIt(t *testing.T) {
	uuid4 := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	for name, tt := range sayings {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.write(w)
			h := w.Header()
			got := fmt.Sprintf(
				"%d %s %q %s", w.Code, h.Get("Content-Type"), h.Get("x-amzn-ErrorType"),
				uuid4.ReplaceAllString(w.Body.String(), "ID"),
			)
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if !uuid4.MatchString(h.Get("x-amzn-RequestId")) || h.Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
				t.Errorf("headers %v", h)
			}
		})
	}
}

func TestARequestHasOneID(t *testing.T) {
	w := httptest.NewRecorder()
	id := awserr.RequestID(w.Header())
	awserr.WriteREST(w, &awserr.Error{Status: 500})
	if got := w.Header().Get("x-amzn-RequestId"); got != id {
		t.Errorf("%s became %s", id, got)
	}
}

func TestWhoeverIsToldOfAnOutageIsToldWhenToComeAgain(t *testing.T) {
	writers := map[string]func(http.ResponseWriter, *awserr.Error){
		"JSON": func(w http.ResponseWriter, e *awserr.Error) { awserr.WriteJSON(w, "1.1", e) },
		"compatible JSON": func(w http.ResponseWriter, e *awserr.Error) {
			awserr.WriteCompatibleJSON(w, "1.0", "a", e)
		},
		"CBOR":  func(w http.ResponseWriter, e *awserr.Error) { awserr.WriteCBOR(w, "a", e) },
		"REST":  awserr.WriteREST,
		"Query": func(w http.ResponseWriter, e *awserr.Error) { awserr.WriteQuery(w, "n", e) },
	}
	for name, write := range writers {
		for s := awserr.SageMaker; s <= awserr.IoT; s++ {
			for kind, want := range map[fault.Kind]string{fault.Unavailable: "1", fault.Internal: ""} {
				w := httptest.NewRecorder()
				write(w, awserr.Of(s, "", fault.New(kind, "x")))
				if got := w.Header().Get("Retry-After"); got != want || want != "" && w.Code != 503 {
					t.Errorf("%s, service %d, %v: %d, Retry-After %q", name, s, kind, w.Code, got)
				}
			}
		}
	}
}
