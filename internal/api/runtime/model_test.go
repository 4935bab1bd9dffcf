package runtime_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

const seeLog = "See " +
	"https://eu-west-3.console.aws.amazon.com/cloudwatch/home?region=eu-west-3#logEventViewer:group=/aws/sagemaker/" +
	"Endpoints/e in account 123456789012 for more information."

func TestAContainersErrorBecomesAModelError(t *testing.T) {
	s := start(t, nil)
	for name, tc := range map[string]struct {
		status        int
		body, message string
	}{
		"its fault of the client": {
			400, "bad \"csv\"", `Received client error (400) from primary with message "bad "csv"". ` + seeLog,
		},
		"a fault of its own": {503, "", `Received server error (503) from primary with message "". ` + seeLog},
		"a redirect":         {302, "go", `Received server error (302) from primary with message "go". ` + seeLog},
	} {
		t.Run(name, func(t *testing.T) {
			s.serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			onBoth(t, s, func(t *testing.T, url string) {
				for _, op := range []string{"invocations", "invocations-response-stream"} {
					r := do(t, request(t, url+"/endpoints/e/"+op, "x"))
					if r.status != 424 || r.header.Get("X-Amzn-Errortype") != "ModelError" {
						t.Errorf("%s: %d %v", op, r.status, r.header)
					}
					m := decode(t, r.body)
					if m.Message != tc.message || m.OriginalMessage != tc.body || m.OriginalStatusCode != tc.status ||
						m.LogStreamArn != "arn:aws:logs:eu-west-3:123456789012:log-group:/aws/sagemaker/Endpoints/e" {
						t.Errorf("%s: %+v", op, m)
					}
				}
			})
		})
	}
}

func TestALongErrorIsCutToWhatTheAPIAllows(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = io.WriteString(w, strings.Repeat("ü", 100_000)+"\xff")
	})
	onBoth(t, s, func(t *testing.T, url string) {
		m := decode(t, do(t, request(t, url+"/endpoints/e/invocations", "x")).body)
		if n := utf8.RuneCountInString(m.OriginalMessage); n != 2048 {
			t.Errorf("OriginalMessage has %d characters", n)
		}
		if n := utf8.RuneCountInString(m.Message); n != 2048 || !strings.HasSuffix(m.Message, `ü". `+seeLog) {
			t.Errorf("Message has %d characters and ends in %q", n, m.Message[len(m.Message)-100:])
		}
	})
}

// rawContainer answers every request with bytes of its own. It hangs up after them,
// or goes on until the other side does: a connection that may be used again must
// not end while somebody takes it up.
func rawContainer(t *testing.T, answer string, hangsUp bool) traffic.Instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open { // the last that are kept
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, answer)
					if hangsUp {
						return
					}
				}
			})
		}
	})
	return traffic.Instance{ID: "raw", Address: l.Addr().String()}
}

func TestAContainerThatDoesNotAnswerProperlyIsAModelErrorOfStatusZero(t *testing.T) {
	s := start(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for name, tc := range map[string]struct {
		in      traffic.Instance
		message string
	}{
		"refused": {
			traffic.Instance{ID: "r", Address: l.Addr().String()},
			`with message "Could not connect to container primary.". `,
		},
		"hung up": {
			rawContainer(t, "", true),
			`with message "Container primary closed the connection or sent a malformed response.". `,
		},
		"not HTTP": {
			rawContainer(t, "SSH-2.0-OpenSSH\r\n", true),
			`with message "Container primary closed the connection or sent a malformed response.". `,
		},
		"two lengths": {
			rawContainer(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
			`with message "Container primary closed the connection or sent a malformed response.". `,
		},
		"a short body": {
			rawContainer(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", true),
			"and could not load the entire response body. ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.route(tc.in)
			onBoth(t, s, func(t *testing.T, url string) {
				r := do(t, request(t, url+"/endpoints/e/invocations", "x"))
				m := decode(t, r.body)
				if want := "Received server error (0) from primary " + tc.message + seeLog; r.status != 424 ||
					m.Message != want || m.OriginalStatusCode != 0 {
					t.Errorf("%d %+v", r.status, m)
				}
			})
		})
	}
}

func TestASlowContainerTimesOut(t *testing.T) {
	s := start(t, func(c *runtime.Config) { c.Timeout = 60 * time.Millisecond })
	hang := make(chan struct{})
	s.serve(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) }) // before the container is closed
	onBoth(t, s, func(t *testing.T, url string) {
		r := do(t, request(t, url+"/endpoints/e/invocations", "x"))
		m := decode(t, r.body)
		text := "Your invocation timed out while waiting for a response from container primary. Review the latency " +
			"metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
		if r.status != 424 || m.OriginalStatusCode != 0 || m.OriginalMessage != text ||
			m.Message != `Received server error (0) from primary with message "`+text+`". `+seeLog {
			t.Errorf("%d %+v", r.status, m)
		}
	})
	if n := s.router.Counts(traffic.Key{Region: region, Name: "e"})[0]; n.Status5XX != 2 || n.ModelErrors != 2 {
		t.Errorf("%+v", n)
	}
}

func TestAClientThatLeavesCancelsTheRequest(t *testing.T) {
	s := start(t, nil)
	began, cancelled := make(chan struct{}, 2), make(chan struct{}, 2)
	s.serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		began <- struct{}{}
		<-r.Context().Done()
		cancelled <- struct{}{}
	})
	onBoth(t, s, func(t *testing.T, url string) {
		req := request(t, url+"/endpoints/e/invocations", "x")
		c, err := net.Dial("tcp", req.URL.Host)
		if err != nil {
			t.Fatal(err)
		}
		if err := req.Write(c); err != nil {
			t.Fatal(err)
		}
		<-began
		_ = c.Close()
		select {
		case <-cancelled:
		case <-time.After(5 * time.Second):
			t.Error("the container still works for a client that has left")
		}
	})
}

// patient reads the SDK's body before it sends it. The SDK closes the body as
// soon as a response is there, and net/http, if it looks at the body once more
// just then, takes that for an error and closes the connection: a race of
// theirs that a fast server brings out.
type patient struct{ http.Transport }

func (p *patient) Do(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(b))
	return p.RoundTrip(r)
}

func client(url string) *sagemakerruntime.Client {
	return sagemakerruntime.New(sagemakerruntime.Options{
		HTTPClient:   &patient{http.Transport{DisableKeepAlives: true}},
		BaseEndpoint: aws.String(url), Region: region, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }),
	})
}

func TestTheGoSDKInvokes(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "bad" {
			w.WriteHeader(422)
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "got %s", b)
	})
	onBoth(t, s, func(t *testing.T, url string) {
		c := client(url)
		out, err := c.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
			EndpointName: aws.String("e"), Body: []byte("hello"), ContentType: aws.String("text/plain"),
		})
		if err != nil || string(out.Body) != "got hello" || aws.ToString(out.InvokedProductionVariant) != "v1" {
			t.Errorf("%+v, %v", out, err)
		}
		_, err = c.InvokeEndpoint(
			t.Context(), &sagemakerruntime.InvokeEndpointInput{EndpointName: aws.String("e"), Body: []byte("bad")},
		)
		if me, ok := errors.AsType[*types.ModelError](err); !ok || aws.ToInt32(me.OriginalStatusCode) != 422 ||
			aws.ToString(me.OriginalMessage) != "got bad" {
			t.Errorf("%v", err)
		}
		_, err = c.InvokeEndpoint(
			t.Context(), &sagemakerruntime.InvokeEndpointInput{EndpointName: aws.String("f"), Body: []byte("x")},
		)
		if ve, ok := errors.AsType[*types.ValidationError](err); !ok ||
			ve.ErrorMessage() != "Endpoint f of account 123456789012 not found." {
			t.Errorf("%v", err)
		}
	})
}

// Each part reaches the client before the container sends the next: the
// container waits for the client to say so.
func TestAStreamArrivesPartByPart(t *testing.T) {
	s := start(t, nil)
	seen := make(chan struct{})
	s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("Accept: %s", r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "part %d", i)
			_ = http.NewResponseController(w).Flush()
			<-seen
		}
	})
	onBoth(t, s, func(t *testing.T, url string) {
		out, err := client(
			url,
		).InvokeEndpointWithResponseStream(t.Context(), &sagemakerruntime.InvokeEndpointWithResponseStreamInput{
			EndpointName: aws.String("e"), Body: []byte("x"), Accept: aws.String("text/event-stream"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(out.ContentType) != "text/event-stream" || aws.ToString(out.InvokedProductionVariant) != "v1" {
			t.Errorf("%+v", out)
		}
		i := 0
		for e := range out.GetStream().Events() {
			if p, ok := e.(*types.ResponseStreamMemberPayloadPart); !ok ||
				string(p.Value.Bytes) != fmt.Sprintf("part %d", i) {
				t.Fatalf("event %d: %+v", i, e)
			}
			i++
			seen <- struct{}{}
		}
		if err := out.GetStream().Err(); err != nil || i != 5 {
			t.Errorf("%d events, %v", i, err)
		}
		_ = out.GetStream().Close()
	})
}

func TestAStreamThatBreaksEndsInAnException(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter, hang chan struct{})
		code   string
	}{
		"the container dies": {
			func(http.ResponseWriter, chan struct{}) { panic(http.ErrAbortHandler) }, "StreamBroken",
		},
		"it takes too long": {
			func(_ http.ResponseWriter, hang chan struct{}) { <-hang }, "ModelInvocationTimeExceeded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(c *runtime.Config) { c.StreamTimeout = 300 * time.Millisecond })
			hang := make(chan struct{})
			s.serve(t, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "first")
				_ = http.NewResponseController(w).Flush()
				tc.answer(w, hang)
			})
			t.Cleanup(func() { close(hang) }) // before the container is closed
			onBoth(t, s, func(t *testing.T, url string) {
				out, err := client(url).InvokeEndpointWithResponseStream(
					t.Context(),
					&sagemakerruntime.InvokeEndpointWithResponseStreamInput{
						EndpointName: aws.String("e"), Body: []byte("x"),
					},
				)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for range out.GetStream().Events() {
					n++
				}
				me, ok := errors.AsType[*types.ModelStreamError](out.GetStream().Err())
				if n != 1 || !ok || aws.ToString(me.ErrorCode_) != tc.code {
					t.Errorf("%d events, %v", n, out.GetStream().Err())
				}
				_ = out.GetStream().Close()
			})
		})
	}
}
