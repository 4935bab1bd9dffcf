package providertest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// What instances are before they answer, and where they do: staging and
// addresses.

func tellsItsAddress(b *bench) {
	st, err := b.p.Ensure(b.t.Context(), "a", b.Spec(nil))
	if err != nil {
		b.t.Fatal(err)
	}
	for st.Address == "" {
		if st.Waiting == "" || strings.Contains(st.Waiting, "\n") {
			b.t.Fatalf("without an address it is %+v", st)
		}
		b.untilChanged()
		st, _ = b.status("a")
	}
	if st.Waiting != "" {
		b.t.Errorf("with an address it is %+v", st)
	}
	b.untilReady(st.Address)
	if again := b.ensure("a", nil); again != st {
		b.t.Errorf("it became %+v, was %+v", again, st)
	}
}

func moves(b *bench) {
	if b.Move == nil {
		b.t.Skip("addresses stay")
	}
	before := b.ensure("a", map[string]string{"TESTMODEL_NAME": "same"})
	b.untilReady(before.Address)
	b.Move("a")
	st := before
	for st.Address == before.Address {
		b.untilChanged()
		st, _ = b.status("a")
	}
	b.untilReady(st.Address)
	b.wantAnswer(st.Address, "same")
	b.wantCopies("a", 1)
}

// untilChanged waits for a change to be announced; where nobody announces any,
// for a moment.
func (b *bench) untilChanged() {
	b.t.Helper()
	var announced <-chan struct{}
	moment := 10 * time.Millisecond
	if n, ok := b.p.(provider.Notifier); ok {
		announced, moment = n.Changes(), Patience
	}
	select {
	case <-announced:
	case <-time.After(moment):
		if announced != nil {
			b.t.Fatal("no change was announced")
		}
	}
}

// specOf is a Spec with model data.
func (b *bench) specOf(d hosting.ModelData) provider.Spec {
	s := b.Spec(nil)
	s.ModelData = &d
	return s
}

func fetches(b *bench) {
	st := b.ensureSpec("a", b.specOf(b.ModelData))
	b.untilReady(st.Address)
	b.wantAnswer(st.Address, "fetched")
}

func missesData(b *bench) {
	_, err := b.p.Ensure(b.t.Context(), "a", b.specOf(b.MissingData))
	if _, ok := errors.AsType[*provider.ModelDataError](err); !ok || !isKind(err, fault.NotFound) {
		b.t.Errorf("missing model data: %v", err)
	}
	if st, ok := b.status("a"); ok {
		b.t.Errorf("it is listed as %+v", st)
	}
}

func stopsFetching(b *bench) {
	ctx, cancel := context.WithCancel(b.t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := b.p.Ensure(ctx, "a", b.specOf(b.StuckData))
		returned <- err
	}()
	b.until("what is fetched is listed", func() bool {
		st, ok := b.status("a")
		return ok && st.Address == "" && st.Waiting != ""
	})
	b.untilReady(b.ensure("b", nil).Address) // others do not wait for it
	cancel()
	if err := <-returned; !errors.Is(err, context.Canceled) {
		b.t.Errorf("Ensure: %v", err)
	}
	if st, ok := b.status("a"); ok {
		b.t.Errorf("it is listed as %+v", st)
	}
	b.wantCopies("a", 0)
}

func limitsFetching(b *bench) {
	s := b.specOf(b.StuckData)
	s.DownloadTimeout = 20 * time.Millisecond
	_, err := b.p.Ensure(b.t.Context(), "a", s)
	if _, ok := errors.AsType[*provider.ModelDataError](err); !ok || !errors.Is(err, context.DeadlineExceeded) {
		b.t.Errorf("after its limit: %v", err)
	}
	b.wantCopies("a", 0)
}
