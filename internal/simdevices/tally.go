package simdevices

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/openload"
)

// kind is a kind of call.
type kind int

const (
	kindRegistration kind = iota
	kindPoll
	kindHeartbeat
	kindFetch
	kinds
)

func (k kind) String() string { return [kinds]string{"registration", "poll", "heartbeat", "fetch"}[k] }

// maxTroubles bounds how many kinds of error are told apart.
const maxTroubles = 100

// tally counts what the devices do.
type tally struct {
	mu        sync.Mutex
	since     time.Time
	calls     [kinds]openload.Histogram // that were answered
	behind    openload.Histogram        // how late devices acted
	failed    [kinds]int64
	troubles  map[string]int64
	good, bad int64 // deployments that ended
}

// took counts a call that was answered.
func (t *tally) took(k kind, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[k].Add(d)
}

// late counts how long after its time a device acted: what there were too few
// workers or processors for.
func (t *tally) late(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.behind.Add(d)
}

// fail counts a call that failed by its kind and why.
func (t *tally) fail(k kind, err error) {
	why := ""
	if e, ok := errors.AsType[*Refusal](err); ok {
		why = fmt.Sprintf("answered %d %s", e.Status, e.Code)
	} else if why = lost(err); why == "" {
		why = "no answer"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed[k]++
	t.count(k.String() + ": " + why)
}

// lost says what of the simulation a call met, "" if it was something else.
func lost(err error) string {
	for what, e := range map[string]error{"away": errAway, "lost request": errLost, "lost reply": errLostReply} {
		if errors.Is(err, e) {
			return what
		}
	}
	return ""
}

// trouble counts something that is not a call.
func (t *tally) trouble(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(what)
}

func (t *tally) count(what string) {
	if t.troubles == nil {
		t.troubles = map[string]int64{}
	}
	if _, known := t.troubles[what]; !known && len(t.troubles) >= maxTroubles {
		what = "others"
	}
	t.troubles[what]++
}

// finish counts a deployment that a device has ended.
func (t *tally) finish(r edge.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if edge.OutcomeOf(r) == edge.Success {
		t.good++
	} else {
		t.bad++
	}
}

// Calls is how the calls of a kind went. Times are in milliseconds.
type Calls struct {
	Answered  int64   `json:"answered"`
	Failed    int64   `json:"failed"` // away, lost or refused
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

// Report is what the devices did since Seconds ago.
type Report struct {
	Devices    int              `json:"devices"`
	Registered int              `json:"registered"` // that know that they are
	Online     int              `json:"online"`     // whose last call got an answer
	Idle       int              `json:"idle"`
	Seconds    float64          `json:"seconds"`
	Calls      map[string]Calls `json:"calls"`
	Deployed   int64            `json:"deployments_succeeded"`
	Failed     int64            `json:"deployments_failed"`
	LateP99    float64          `json:"late_p99_ms"` // how late devices acted: what this process was too slow for
	Errors     map[string]int64 `json:"errors"`
}

// Report tells what the devices did since the last Reset.
func (f *Fleet) Report() Report {
	r := Report{Devices: len(f.sims), Calls: map[string]Calls{}, Errors: map[string]int64{}}
	for i := range f.sims {
		flags := f.sims[i].flags.Load()
		r.Registered += int(flags & flagRegistered / flagRegistered)
		r.Online += int(flags & flagOnline / flagOnline)
		r.Idle += int(flags & flagIdle / flagIdle)
	}
	t := &f.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.since.IsZero() {
		r.Seconds = time.Since(t.since).Seconds()
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for k := range kinds {
		h := &t.calls[k]
		r.Calls[k.String()] = Calls{
			Answered: int64(h.Len()), Failed: t.failed[k], PerSecond: float64(h.Len()) / max(r.Seconds, 1e-3),
			P50: ms(h.Quantile(0.5)), P99: ms(h.Quantile(0.99)), Max: ms(h.Max()),
		}
	}
	r.Deployed, r.Failed, r.LateP99 = t.good, t.bad, ms(t.behind.Quantile(0.99))
	for what, n := range t.troubles {
		r.Errors[what] = n
	}
	return r
}

// Reset begins the counts of calls anew, and not those of deployments.
func (f *Fleet) Reset() {
	t := &f.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls, t.behind, t.failed, t.troubles = [kinds]openload.Histogram{}, openload.Histogram{}, [kinds]int64{}, nil
	t.since = time.Now()
}

// Line is the report in one line, with the rates since an earlier one.
func (r Report) Line(before Report) string {
	rate := func(k kind) float64 {
		return float64(r.Calls[k.String()].Answered-before.Calls[k.String()].Answered) / max(r.Seconds-before.Seconds,
			1e-3)
	}
	b, p := r.Calls[kindHeartbeat.String()], r.Calls[kindPoll.String()]
	line := fmt.Sprintf("%d of %d registered, %d online; heartbeats %.0f/s p50 %.1f p99 %.1f ms; polls %.0f/s p50 "+
		"%.1f p99 %.1f ms; deployments %d ok, %d failed",
		r.Registered, r.Devices, r.Online, rate(kindHeartbeat), b.P50, b.P99, rate(kindPoll), p.P50, p.P99, r.Deployed,
		r.Failed)
	errs := map[string]int64{} // of all calls together
	for what, n := range r.Errors {
		if _, why, ok := strings.Cut(what, ": "); ok {
			what = why
		}
		errs[what] += n
	}
	for i, what := range slices.Sorted(maps.Keys(errs)) {
		line += fmt.Sprintf("%s%s %d", [2]string{"; failed calls: ", ", "}[min(i, 1)], what, errs[what])
	}
	return line
}
