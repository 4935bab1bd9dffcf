package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/openload"
)

// soakVariable makes the soak test run, for so long.
const soakVariable = "SLIPWAY_SOAK"

func TestNoRequestIsLostInFiftyUpdatesUnderLoad(t *testing.T) {
	t.Parallel()
	testAvailability(t, func(updates int) bool { return updates >= 50 })
}

func TestSoakNoRequestIsLost(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv(soakVariable))
	if err != nil {
		t.Skipf("%s is not a duration: the soak test runs by `make soak`", soakVariable)
	}
	end := time.Now().Add(long)
	testAvailability(t, func(int) bool { return time.Now().After(end) })
}

const (
	loadRate  = 150 // requests per second
	instances = 3
	killEvery = 6 // updates
)

// testAvailability moves an endpoint back and forth between two configurations
// under load, kills an instance now and then, and accounts for every request.
func testAvailability(t *testing.T, enough func(updates int) bool) {
	s := startServer(t)
	c := s.sdk()
	c.deployable("blue", instances, nil)
	c.deployable("green", instances, nil)
	c.createEndpoint("live", "blue")

	l := newLoad(c, "live")
	l.start()
	config, updates := "blue", 0
	for ; !enough(updates); updates++ {
		config = map[string]string{"blue": "green", "green": "blue"}[config]
		if _, err := c.sagemaker.UpdateEndpoint(
			t.Context(), &sagemaker.UpdateEndpointInput{EndpointName: aws.String("live"), EndpointConfigName: &config},
		); err != nil {
			t.Fatal(err)
		}
		if updates%killEvery == killEvery/2 {
			l.killOne(s)
		}
		if got := c.awaitInService("live"); got != config {
			t.Fatalf("update %d ended with %q in service, want %q: %s", updates, got, config, c.failureReason("live"))
		}
	}
	l.finish()
	l.check(s)
	t.Logf("%d updates, %d instances killed: %v", updates, len(l.kills), l.report)

	eventually(
		t, 30*time.Second, "only the endpoint's instances run", func() bool { return len(s.instances()) == instances },
	)
	c.deleteEndpoint("live")
	eventually(t, 30*time.Second, "no instance runs after the delete", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func (c *sdk) failureReason(endpoint string) string {
	d, err := c.sagemaker.DescribeEndpoint(c.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &endpoint})
	if err != nil {
		return err.Error()
	}
	return aws.ToString(d.FailureReason)
}

// load is open-loop traffic of quick, slow and streamed requests.
type load struct {
	c        *sdk
	endpoint string
	halt     chan struct{}
	done     chan struct{}
	report   *openload.Report
	err      error
	kills    []kill

	mu     sync.Mutex
	failed []openload.Result
	byPID  map[int]int
}

// kill is an instance's death, as the test caused it.
type kill struct {
	instance
	before, after time.Time // the process died, and its sockets with it, in between
}

func newLoad(c *sdk, endpoint string) *load {
	return &load{c: c, endpoint: endpoint, halt: make(chan struct{}), done: make(chan struct{}), byPID: map[int]int{}}
}

func (l *load) start() {
	cfg := openload.Config{
		Rate: loadRate, Duration: 24 * time.Hour, MaxInFlight: 256, Grace: time.Minute, Stop: l.halt, OnResult: l.note,
	}
	go func() {
		defer close(l.done)
		l.report, l.err = openload.Run(l.c.t.Context(), cfg, l.send)
	}()
}

func (l *load) finish() {
	close(l.halt)
	<-l.done
	if l.err != nil {
		l.c.t.Fatal(l.err)
	}
}

func (l *load) note(r openload.Result) {
	if r.Class != openload.OK {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = append(l.failed, r)
	}
}

// send invokes the endpoint: one request in ten streams for half a second, one
// is slow, and one has a body of 200 KiB. The inference id is the request's
// number, by which an instance's journal knows it.
func (l *load) send(ctx context.Context, seq int) error {
	id := aws.String(strconv.Itoa(seq))
	switch seq % 10 {
	case 3:
		return l.stream(ctx, id)
	case 6:
		return l.invoke(ctx, id, fmt.Sprintf("sleep_ms=%d", 200+rand.IntN(800)), []byte("slow"))
	case 9:
		return l.invoke(ctx, id, "", bytes.Repeat([]byte("x"), 200<<10))
	}
	return l.invoke(ctx, id, "", []byte("hello"))
}

func (l *load) invoke(ctx context.Context, id *string, ask string, body []byte) error {
	in := &sagemakerruntime.InvokeEndpointInput{EndpointName: &l.endpoint, InferenceId: id, Body: body}
	if ask != "" {
		in.CustomAttributes = &ask
	}
	out, err := l.c.once.InvokeEndpoint(ctx, in)
	if err != nil {
		return err
	}
	var a struct {
		Name, ID   string
		PID, Bytes int
	}
	if err := json.Unmarshal(out.Body, &a); err != nil {
		return fmt.Errorf("answer %.100q: %w", out.Body, err)
	}
	if a.ID != *id || a.Bytes != len(body) || (a.Name != "blue" && a.Name != "green") {
		return fmt.Errorf("request %s with %d bytes got the answer %+v", *id, len(body), a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byPID[a.PID]++
	return nil
}

func (l *load) stream(ctx context.Context, id *string) error {
	const chunks = 10
	out, err := l.c.once.InvokeEndpointWithResponseStream(ctx, &sagemakerruntime.InvokeEndpointWithResponseStreamInput{
		EndpointName: &l.endpoint, InferenceId: id,
		CustomAttributes: aws.String(fmt.Sprintf("chunks=%d,chunk_ms=50", chunks)), Body: []byte("go"),
	})
	if err != nil {
		return err
	}
	events := out.GetStream()
	defer events.Close()
	var got strings.Builder
	for e := range events.Events() {
		if part, ok := e.(*runtimetypes.ResponseStreamMemberPayloadPart); ok {
			got.Write(part.Value.Bytes)
		}
	}
	if err := events.Err(); err != nil {
		return err
	}
	var want strings.Builder
	for i := range chunks {
		fmt.Fprintf(&want, "chunk %d\n", i)
	}
	if got.String() != want.String() {
		return fmt.Errorf("request %s: the stream ended early, with %q", *id, got.String())
	}
	return nil
}

// killOne kills an instance that has answered, as an out-of-memory killer
// would.
func (l *load) killOne(s *server) {
	running := s.instances()
	if len(running) == 0 {
		s.t.Fatal("no instance is running")
	}
	victim := running[rand.IntN(len(running))]
	k := kill{instance: victim, before: time.Now()}
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.t.Fatal(err)
	}
	// Until it is gone its sockets take requests that nobody will read.
	for !gone(victim.pid) {
		time.Sleep(100 * time.Microsecond)
	}
	k.after = time.Now()
	l.kills = append(l.kills, k)
}

// check fails the test for every failed request that no killed instance held:
// one is excused only if it was under way when an instance was killed and no
// other instance took it.
func (l *load) check(s *server) {
	s.t.Helper()
	if sum := l.report.Count(openload.OK) + len(l.failed); sum != l.report.Requests {
		s.t.Errorf("%d requests were sent, %d are accounted for", l.report.Requests, sum)
	}
	if l.report.Requests == 0 || len(l.byPID) < 2*instances {
		s.t.Errorf("the load proves nothing: %d requests to %d instances", l.report.Requests, len(l.byPID))
	}
	receivers := map[string][]string{} // by inference id: the instances that received it
	journals, err := os.ReadDir(s.journal)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, j := range journals {
		for _, id := range s.journaled(j.Name()) {
			receivers[id] = append(receivers[id], j.Name())
		}
	}
	const shown = 20
	bad := 0
	for _, r := range l.failed {
		by := receivers[strconv.Itoa(r.Seq)]
		why := l.excuse(r, by)
		switch {
		case why != "":
			s.t.Logf("request %d was lost: %s", r.Seq, why)
		case bad < shown:
			s.t.Errorf("request %d failed after %v, at %s, and was not lost with a killed instance (taken by %v): %v",
				r.Seq, r.Ended.Sub(r.Started), r.Ended.UTC().Format("15:04:05.000"), by, r.Err)
			bad++
		default:
			bad++
		}
	}
	if bad > 0 {
		s.t.Errorf("%d requests failed that should not have", bad)
	}
}

// excuse returns why a failed request is no fault of Slipway's, or "".
func (l *load) excuse(r openload.Result, receivers []string) string {
	for _, k := range l.kills {
		if r.Started.After(k.after) || r.Ended.Before(k.before) {
			continue // not under way at the kill
		}
		switch {
		case len(receivers) == 1 && receivers[0] == k.id:
			return "the killed instance " + k.id + " had taken it"
		case len(receivers) == 0:
			// It was sent, but the process died before it could say so.
			return "it was on its way when the instance " + k.id + " was killed"
		}
	}
	return ""
}
