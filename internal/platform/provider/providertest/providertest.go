// Package providertest is the contract of provider.Provider as tests. Every
// implementation must pass Run with the testmodel program as its container.
package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// Patience is how long the tests wait for what should take moments.
const Patience = 20 * time.Second

// Harness is one implementation, on state of its own.
type Harness struct {
	// Open opens the implementation on the harness's state. Run closes an
	// earlier one first if it is an io.Closer, and calls Open again to see that
	// instances are adopted.
	Open func() provider.Provider
	// Spec runs testmodel with this environment.
	Spec func(env map[string]string) provider.Spec
	// Unrunnable is a Spec that can never start, "" as Image if there is none.
	Unrunnable provider.Spec
	// ModelData can be fetched and has a file "name" that reads "fetched";
	// MissingData is not there; fetching StuckData never ends.
	ModelData, MissingData, StuckData hosting.ModelData
	// Move gives an instance that runs another address; nil where addresses stay.
	Move func(id provider.ID)
	// Copies counts the processes or containers that exist for id, children
	// included, without asking the provider.
	Copies func(id provider.ID) int
}

// bench is a harness in a test.
type bench struct {
	t *testing.T
	Harness
	p provider.Provider
}

// Run tests the implementation that make returns; make is called once for each
// test and cleans up through t.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	for name, test := range map[string]func(*bench){
		"an instance serves at its address":                       serves,
		"ensuring an instance twice makes one copy":               ensuresOnce,
		"removing what does not exist succeeds":                   removesUnknown,
		"a removed instance is gone and may come back":            removesAndReturns,
		"list shows every instance once":                          lists,
		"an exited instance says how it ended":                    tellsTheEnd,
		"ensuring an exited instance starts it anew":              restarts,
		"an exit is announced":                                    announces,
		"the last lines of a log can be read, even after removal": keepsLogs,
		"a new provider adopts what runs and what has exited":     adopts,
		"an instance that ignores SIGTERM is killed after grace":  kills,
		"an instance ends what it does before it goes":            drains,
		"what an instance started goes with it":                   takesChildrenAlong,
		"a remove that gave up is finished by the next":           goesOnRemoving,
		"verbs on one id do not wait for another":                 worksSideBySide,
		"what cannot run is refused as invalid":                   refuses,
		"an instance without an address says what it waits for":   tellsItsAddress,
		"an instance that moved is listed where it answers":       moves,
		"model data is there before an instance answers":          fetches,
		"model data that cannot be had is told with its kind":     missesData,
		"an instance that nobody waits for is fetched no more":    stopsFetching,
		"fetching ends at its own limit":                          limitsFetching,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, Harness: make(t)}
			b.reopen()
			test(b)
		})
	}
}

func (b *bench) reopen() {
	b.t.Helper()
	if c, ok := b.p.(io.Closer); ok {
		if err := c.Close(); err != nil {
			b.t.Fatalf("close: %v", err)
		}
	}
	b.p = b.Open()
}

func (b *bench) ensure(id provider.ID, env map[string]string) provider.Status {
	b.t.Helper()
	return b.ensureSpec(id, b.Spec(env))
}

// ensureSpec returns the status that an instance has once it has an address.
func (b *bench) ensureSpec(id provider.ID, s provider.Spec) provider.Status {
	b.t.Helper()
	st, err := b.p.Ensure(b.t.Context(), id, s)
	if err != nil {
		b.t.Fatalf("Ensure %s: %v", id, err)
	}
	if st.ID != id {
		b.t.Fatalf("Ensure %s returned the status of %q", id, st.ID)
	}
	b.until(fmt.Sprintf("%s has an address", id), func() bool {
		if st.Address == "" && !st.Exited {
			st, _ = b.status(id)
		}
		return st.Address != "" || st.Exited
	})
	return st
}

func (b *bench) remove(id provider.ID) {
	b.t.Helper()
	if err := b.p.Remove(b.t.Context(), id); err != nil {
		b.t.Fatalf("Remove %s: %v", id, err)
	}
	b.wantCopies(id, 0)
}

func (b *bench) wantCopies(id provider.ID, want int) {
	b.t.Helper()
	if n := b.Copies(id); n != want {
		b.t.Errorf("%d copies of %s exist, want %d", n, id, want)
	}
}

// status returns what List says of id.
func (b *bench) status(id provider.ID) (provider.Status, bool) {
	b.t.Helper()
	all, err := b.p.List(b.t.Context())
	if err != nil {
		b.t.Fatalf("List: %v", err)
	}
	var found []provider.Status
	for _, s := range all {
		if s.ID == id {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return provider.Status{}, false
	case 1:
		return found[0], true
	default:
		b.t.Fatalf("List shows %s %d times", id, len(found))
		return found[0], true
	}
}

// until polls: what is awaited happens in another process.
func (b *bench) until(what string, cond func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(Patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("it never happened that %s", what)
		}
	}
}

func (b *bench) untilExited(id provider.ID) provider.Status {
	b.t.Helper()
	var st provider.Status
	b.until(fmt.Sprintf("%s exited", id), func() bool {
		var ok bool
		st, ok = b.status(id)
		return ok && st.Exited
	})
	return st
}

func (b *bench) untilReady(address string) {
	b.t.Helper()
	b.until("the instance passed /ping", func() bool {
		resp, err := http.Get("http://" + address + "/ping")
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // nothing in it
		return resp.StatusCode == http.StatusOK
	})
}

// wantAnswer asks an instance for its name.
func (b *bench) wantAnswer(address, name string) {
	b.t.Helper()
	if body, err := b.invoke(b.t.Context(), address, "status=200"); err != nil ||
		!strings.Contains(body, `"`+name+`"`) {
		b.t.Errorf("answer %q, %v", body, err)
	}
}

// invoke sends an invocation that asks for something of testmodel.
func (b *bench) invoke(ctx context.Context, address, ask string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/invocations",
		strings.NewReader("x"))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Amzn-SageMaker-Custom-Attributes", ask)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (b *bench) logs(id provider.ID, tail int) string {
	b.t.Helper()
	text, err := b.p.(provider.LogReader).Logs(b.t.Context(), id, tail)
	if err != nil {
		b.t.Fatalf("Logs of %s: %v", id, err)
	}
	return string(text)
}

// together runs f n times at once and fails on the first error.
func (b *bench) together(n int, f func(i int) error) {
	b.t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatal(err)
	}
}

func isKind(err error, k fault.Kind) bool { return errors.Is(err, k) }

func lines(s string) int { return bytes.Count([]byte(s), []byte("\n")) }
