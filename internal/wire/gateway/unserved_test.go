package gateway_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAServiceThatIsNotServedAnswersInTheProtocolOfTheRequest(t *testing.T) {
	h := open(t, nil)
	h.key.Secret = "nobody's" // it is not asked who calls
	json := func(version, target string) http.Header {
		return http.Header{"Content-Type": {"application/x-amz-json-" + version}, "X-Amz-Target": {target}}
	}
	for name, c := range map[string]struct {
		ask  ask
		kind string
		want []string
	}{
		"Query (iam)": {
			ask{"POST", "/", "iam", form, "Action=GetRole&Version=2010-05-08"},
			"text/xml",
			[]string{"<ErrorResponse", "<Code>AccessDenied</Code>"},
		},
		"Query in the URL (sns)": {
			ask{"GET", "/?Action=ListTopics", "sns", nil, ""}, "text/xml", []string{"<Code>AccessDenied</Code>"},
		},
		"EC2": {
			ask{"POST", "/", "ec2", form, "Action=DescribeVpcs"},
			"text/xml",
			[]string{"<Response><Errors><Error><Code>AccessDenied</Code>", "<RequestID>"},
		},
		"JSON 1.0 (dynamodb)": {
			ask{"POST", "/", "dynamodb", json("1.0", "DynamoDB_20120810.ListTables"), "{}"},
			"application/x-amz-json-1.0",
			[]string{`{"__type":"AccessDeniedException","message":"`},
		},
		"JSON 1.1 (logs)": {
			ask{"POST", "/", "logs", json("1.1", "Logs_20140328.GetLogEvents"), "{}"},
			"application/x-amz-json-1.1",
			[]string{`{"__type":"AccessDeniedException","message":"`},
		},
		"JSON 1.1 (application-autoscaling)": {
			ask{
				"POST", "/", "application-autoscaling",
				json("1.1", "AnyScaleFrontendService.DescribeScalableTargets"), "{}",
			}, "application/x-amz-json-1.1", []string{`"AccessDeniedException"`},
		},
		"REST-JSON (lambda)": {
			ask{"GET", "/2015-03-31/functions", "lambda", nil, ""}, "application/json", []string{`{"Message":"`},
		},
		"REST-XML (route53)": {
			ask{"GET", "/2013-04-01/hostedzone", "route53", nil, ""}, "text/xml", []string{"<Code>AccessDenied</Code>"},
		},
		"REST-XML (S3 Control)": {
			ask{"GET", "/v20180820/tags/x", "s3", nil, ""},
			"text/xml",
			[]string{"<Code>AccessDenied</Code>", "The service s3control"},
		},
		"CBOR (eventbridge)": {
			ask{"POST", "/service/AWSEvents/operation/PutEvents", "events", inCBOR, ""},
			"application/cbor",
			[]string{"#AccessDeniedException"},
		},
		"a bucket's path": {
			ask{"GET", "/endpoints/x", "mobiletargeting", nil, ""}, "application/json", []string{`{"Message":"`},
		},
	} {
		status, body, header := h.answer(t, h.request(t, c.ask))
		if status != 403 || header.Get("Content-Type") != c.kind {
			t.Errorf("%s: %d %s", name, status, header.Get("Content-Type"))
		}
		for _, want := range append(c.want, "is not served by Slipway.", "Slipway serves SageMaker") {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", name, want, body)
			}
		}
		if c.kind == "application/json" && header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
			t.Errorf("%s: %v", name, header)
		}
	}
}

func TestAPOSTFormIsNotImplemented(t *testing.T) {
	h := open(t, nil)
	multipart := http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}
	for _, path := range []string{"/bucket", "/"} {
		status, body, _ := h.answer(t, h.request(t, ask{"POST", path, "", multipart, "--x--"}))
		if status != 501 || !strings.HasPrefix(body, "s3 refuses: NotImplemented: POST forms") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
