package runtime

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemakerruntime"
)

// input are the members of a request besides its body (spec §6.1). An empty
// header is taken as an absent one.
type input struct {
	endpoint, contentType, accept, attributes  string
	model, variant, container, inference       string
	explanations, component, session, location string
}

func (in *input) read(x Exchange, op operation, endpoint string) {
	*in = input{endpoint: endpoint}
	in.contentType, _ = x.Header("content-type")
	if op == invoke {
		in.accept, _ = x.Header("accept")
		in.model, _ = x.Header("x-amzn-sagemaker-target-model")
		in.explanations, _ = x.Header("x-amzn-sagemaker-enable-explanations")
	} else {
		in.accept, _ = x.Header("x-amzn-sagemaker-accept")
	}
	if op == invokeAsync {
		in.contentType, _ = x.Header("x-amzn-sagemaker-content-type")
		in.location, _ = x.Header("x-amzn-sagemaker-inputlocation")
	}
	in.attributes, _ = x.Header("x-amzn-sagemaker-custom-attributes")
	in.variant, _ = x.Header("x-amzn-sagemaker-target-variant")
	in.container, _ = x.Header("x-amzn-sagemaker-target-container-hostname")
	in.inference, _ = x.Header("x-amzn-sagemaker-inference-id")
	in.component, _ = x.Header("x-amzn-sagemaker-inference-component")
	in.session, _ = x.Header("x-amzn-sagemaker-session-id")
}

// check checks the members against the API's constraints. The usual request is
// recognised at a glance; any other is checked by the tables of package shape.
func (in *input) check(op operation) *failure {
	if plainName(in.endpoint) && plainName(in.variant) && plainText(in.contentType) && plainText(in.accept) &&
		plainText(in.attributes) &&
		in.model == "" && in.container == "" && in.inference == "" && in.explanations == "" && in.component == "" &&
		in.session == "" && op != invokeAsync {
		return nil
	}
	var v shape.Value
	switch op {
	case invoke:
		v = &sagemakerruntime.InvokeEndpointInput{
			EndpointName: &in.endpoint, Body: []byte{}, ContentType: opt(&in.contentType), Accept: opt(&in.accept),
			CustomAttributes: opt(&in.attributes),
			TargetModel:      opt(&in.model), TargetVariant: opt(&in.variant),
			TargetContainerHostname: opt(&in.container),
			InferenceId:             opt(&in.inference),
			EnableExplanations:      opt(&in.explanations), InferenceComponentName: opt(&in.component),
			SessionId: opt(&in.session),
		}
	case invokeStream:
		v = &sagemakerruntime.InvokeEndpointWithResponseStreamInput{
			EndpointName: &in.endpoint, Body: []byte{}, ContentType: opt(&in.contentType), Accept: opt(&in.accept),
			CustomAttributes: opt(&in.attributes),
			TargetVariant:    opt(&in.variant), TargetContainerHostname: opt(&in.container),
			InferenceId:            opt(&in.inference),
			InferenceComponentName: opt(&in.component), SessionId: opt(&in.session),
		}
	case invokeAsync, unknown:
		v = &sagemakerruntime.InvokeEndpointAsyncInput{
			EndpointName: &in.endpoint, ContentType: opt(&in.contentType), Accept: opt(&in.accept),
			CustomAttributes: opt(&in.attributes),
			InferenceId:      opt(&in.inference), InputLocation: opt(&in.location),
		}
	}
	if err := shape.Validate(v, nil); err != nil {
		_, text := fault.Public(err)
		return invalid("", text)
	}
	return nil
}

func opt(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

// plainName reports whether s is surely a legal name, or absent.
func plainName(s string) bool {
	if len(s) > 63 || s != "" && (s[0] == '-' || s[len(s)-1] == '-') {
		return false
	}
	for i := range len(s) {
		if b := s[i]; (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && b != '-' {
			return false
		}
	}
	return true
}

// plainText reports whether s is surely a legal header value. Control
// characters were refused with the head.
func plainText(s string) bool {
	if len(s) > 1024 {
		return false
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// refuse answers what the endpoint exists for but does not offer: none of
// these features may be ignored in silence (spec §5.4, §6.4).
func (a *API) refuse(c *call) *failure {
	in := &c.in
	if c.op != invokeAsync && in.model == "" && in.container == "" && in.explanations == "" && in.component == "" &&
		in.session == "" {
		return nil
	}
	if _, ok := a.Router.Route(traffic.Key{Region: c.region, Name: in.endpoint}); !ok {
		return a.noEndpoint(c)
	}
	switch {
	case c.op == invokeAsync:
		return invalid(
			"", "InvokeEndpointAsync is not supported: endpoint "+in.endpoint+" has no AsyncInferenceConfig.",
		)
	case in.model != "":
		return invalid(
			"TARGET_MODEL_HEADER_NOT_SUPPORTED",
			"Endpoint "+in.endpoint+" is not a multi-model endpoint and does not support target model header.",
		)
	case in.component != "":
		return invalid(
			"",
			"Inference Component Name header is not allowed for endpoints to which you dont plan to deploy inference "+
				"components. Please remove the Inference Component Name header and try again.",
		)
	case in.container != "":
		return invalid(
			"",
			"Endpoint "+in.endpoint+
				" is not a multi-container endpoint with direct invocation and does not support target container "+
				"hostname header.",
		)
	case in.explanations != "":
		return invalid(
			"", "Endpoint "+in.endpoint+" has no ExplainerConfig and does not support enable explanations header.",
		)
	}
	return invalid(
		"", "Endpoint "+in.endpoint+" does not support stateful sessions and therefore no session id header.",
	)
}

func (a *API) noEndpoint(c *call) *failure {
	var b strings.Builder
	b.WriteString("Endpoint ")
	b.WriteString(c.in.endpoint)
	b.WriteString(" of account ")
	b.WriteString(a.Account)
	b.WriteString(" not found.")
	return invalid("NO_SUCH_ENDPOINT", b.String())
}
