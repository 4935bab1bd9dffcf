package runtime

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// maxMessage is the longest Message and OriginalMessage, in characters.
const maxMessage = 2048

// failure is an error as the API tells it (spec §1.4, §6.4). The members are
// in the order in which the service writes them.
type failure struct {
	status  int
	code    string // "" for the one that has none
	variant string // that was invoked

	ErrorCode          string  `json:"ErrorCode,omitempty"`
	LogStreamArn       string  `json:"LogStreamArn,omitempty"`
	Message            string  `json:"Message"`
	OriginalMessage    *string `json:"OriginalMessage,omitempty"`
	OriginalStatusCode *int    `json:"OriginalStatusCode,omitempty"`
}

func invalid(errorCode, message string) *failure {
	return &failure{status: 400, code: "ValidationError", ErrorCode: errorCode, Message: message}
}

func unavailable(message string) *failure {
	return &failure{status: 503, code: "ServiceUnavailable", Message: message}
}

func tooLarge(limit int) *failure {
	return &failure{status: 413, Message: "HTTP content length exceeded " + strconv.Itoa(limit) + " bytes."}
}

// modelError tells that a container answered with an error, or not at all
// (status 0). A nil body says that it could not be read.
func (c *call) modelError(status int, body []byte) *failure {
	side, code := "server", "INTERNAL_FAILURE_FROM_MODEL"
	if status >= 400 && status < 500 {
		side, code = "client", "CLIENT_ERROR_FROM_MODEL"
	}
	container := c.Container
	container = cmp.Or(container, "primary")
	group := "/aws/sagemaker/Endpoints/" + c.in.endpoint
	before := "Received " + side + " error (" + strconv.Itoa(status) + ") from " + container
	after := ". See https://" + c.region + ".console.aws.amazon.com/cloudwatch/home?region=" + c.region +
		"#logEventViewer:group=" + group + " in account " + c.Account + " for more information."
	original := clip(string(bytes.ToValidUTF8(body, []byte("\uFFFD"))), maxMessage)
	message := before + " and could not load the entire response body" + after
	if body != nil {
		before += ` with message "`
		after = `"` + after
		message = before + clip(original, max(0, maxMessage-utf8.RuneCountInString(before+after))) + after
	}
	return &failure{
		status: 424, code: "ModelError", variant: c.Variant,
		ErrorCode: code, LogStreamArn: arn.Scope{Region: c.region, Account: c.Account}.LogGroup(c.in.endpoint),
		Message: clip(message, maxMessage), OriginalMessage: &original, OriginalStatusCode: &status,
	}
}

// clip returns the first n characters of s.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// fail answers with f.
func (c *call) fail(x Exchange, f *failure) {
	f.Message = clip(f.Message, maxMessage)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(f) // strings and a number: it cannot fail
	body := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	c.record.status, c.record.code, c.record.bytes = f.status, f.code, int64(len(body))
	x.Start(f.status, int64(len(body)))
	x.AddHeader("Content-Type", "application/json")
	x.AddHeader("x-amzn-RequestId", string(c.id[:]))
	if f.code != "" {
		x.AddHeader("x-amzn-ErrorType", f.code)
	}
	if f.status == 503 {
		x.AddHeader("Retry-After", "1")
	}
	if f.variant != "" {
		x.AddHeader("x-Amzn-Invoked-Production-Variant", f.variant)
	}
	_, _ = x.Write(body) // a client that has left needs no answer
}

// newRequestID writes a random UUID (version 4). It only has to be unlike
// others, not secret, and the cheap source is part of the router's speed.
func newRequestID(id *[36]byte) {
	var u [16]byte
	binary.LittleEndian.PutUint64(u[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(u[8:], rand.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	hex.Encode(id[0:], u[0:4])
	hex.Encode(id[9:], u[4:6])
	hex.Encode(id[14:], u[6:8])
	hex.Encode(id[19:], u[8:10])
	hex.Encode(id[24:], u[10:])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
}
