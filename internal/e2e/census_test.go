package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"

	"github.com/slipway-ml/slipway/internal/openload"
)

// census is open-loop traffic to an endpoint of which every request is
// accounted for afterwards: by its answer, and by the journals of the models
// that took it.
type census struct {
	c        *sdk
	endpoint string
	halt     chan struct{}
	done     chan struct{}
	report   *openload.Report
	err      error

	mu       sync.Mutex
	outcomes map[int]outcome
}

// outcome is what became of one request.
type outcome struct {
	started, ended time.Time
	model          string // that answered; "" if the request failed
	err            error
}

func startCensus(c *sdk, endpoint string, rate float64) *census {
	l := &census{
		c: c, endpoint: endpoint, halt: make(chan struct{}), done: make(chan struct{}), outcomes: map[int]outcome{},
	}
	cfg := openload.Config{Rate: rate, Duration: 24 * time.Hour, MaxInFlight: 256, Grace: time.Minute, Stop: l.halt}
	go func() { // ends when halt is closed, which finish waits for
		defer close(l.done)
		l.report, l.err = openload.Run(c.t.Context(), cfg, l.send)
	}()
	return l
}

// send invokes the endpoint; one request in ten takes a while, so that there
// are always some under way when traffic moves.
func (l *census) send(ctx context.Context, seq int) error {
	in := &sagemakerruntime.InvokeEndpointInput{
		EndpointName: &l.endpoint, InferenceId: aws.String(strconv.Itoa(seq)), Body: []byte("hello"),
	}
	if seq%10 == 0 {
		in.CustomAttributes = aws.String("sleep_ms=150")
	}
	o := outcome{started: time.Now()}
	out, err := l.c.once.InvokeEndpoint(ctx, in)
	o.ended, o.err = time.Now(), err
	if err == nil {
		var a struct{ Name, ID string }
		if o.err = json.Unmarshal(out.Body, &a); o.err == nil && a.ID != *in.InferenceId {
			o.err = fmt.Errorf("request %d got the answer to %q", seq, a.ID)
		}
		o.model = a.Name
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[seq] = o
	return o.err
}

// answers waits until so many more requests are answered.
func (l *census) answers(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.outcomes)
	}
	begin := count()
	eventually(t, time.Minute, "requests are answered", func() bool { return count() >= begin+more })
}

func (l *census) finish() {
	close(l.halt)
	<-l.done
	if l.err != nil {
		l.c.t.Fatal(l.err)
	}
}

// tally is what the requests of one model came to.
type tally struct {
	answered, failed      int
	firstFailed, lastSent time.Time
}

// check accounts for every request: it was answered by the one model that took
// it, or failed by the own error of a model that is known to be bad. It returns
// what each model's requests came to.
func (l *census) check(s *server, bad ...string) map[string]tally {
	t := s.t
	t.Helper()
	if r := l.report; r.Requests == 0 || r.Requests != len(l.outcomes) ||
		r.Count(openload.OK)+r.Count(openload.Failed) != r.Requests {
		t.Errorf("%d requests were sent, %d are accounted for: %v", r.Requests, len(l.outcomes), r)
	}
	isBad := map[string]bool{}
	for _, name := range bad {
		isBad[name] = true
	}
	const shown = 10
	wrong := 0
	taken := s.receivers()
	by := map[string]tally{}
	for seq, o := range l.outcomes {
		receivers := taken[strconv.Itoa(seq)]
		e, ownError := errors.AsType[*runtimetypes.ModelError](o.err)
		fine := len(receivers) == 1
		switch {
		case !fine:
		case o.err == nil:
			fine = receivers[0] == o.model
		default:
			fine = ownError && aws.ToInt32(e.OriginalStatusCode) == 500 && isBad[receivers[0]]
		}
		if !fine {
			if wrong++; wrong <= shown {
				t.Errorf(
					"request %d, sent at %s and taken by %v, got %q, %v", seq, o.started.UTC().Format("15:04:05.000"),
					receivers, o.model, o.err,
				)
			}
			continue
		}
		sum := by[receivers[0]]
		if o.err == nil {
			sum.answered++
		} else {
			sum.failed++
			if sum.firstFailed.IsZero() || o.ended.Before(sum.firstFailed) {
				sum.firstFailed = o.ended
			}
		}
		if o.started.After(sum.lastSent) {
			sum.lastSent = o.started
		}
		by[receivers[0]] = sum
	}
	if wrong > 0 {
		t.Errorf("%d of %d requests are not as they should be", wrong, l.report.Requests)
	}
	return by
}

// receivers reads the models' journals: by inference id, the names of those that
// received it.
func (s *server) receivers() map[string][]string {
	s.t.Helper()
	all := map[string][]string{}
	journals, err := filepath.Glob(filepath.Join(s.journal, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range journals {
		text, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			all[id] = append(all[id], name)
		}
	}
	return all
}
