package providertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

func serves(b *bench) {
	st := b.ensure("a", map[string]string{"TESTMODEL_NAME": "seven"})
	if st.Exited || st.Address == "" {
		b.t.Fatalf("status is %+v", st)
	}
	b.untilReady(st.Address)
	b.wantAnswer(st.Address, "seven")
	b.wantCopies("a", 1)
}

func ensuresOnce(b *bench) {
	first := b.ensure("a", nil)
	b.together(8, func(int) error {
		st, err := b.p.Ensure(b.t.Context(), "a", b.Spec(nil))
		if err == nil && st.Address != first.Address {
			err = fmt.Errorf("moved from %s to %s", first.Address, st.Address)
		}
		return err
	})
	b.together(8, func(int) error { _, err := b.p.Ensure(b.t.Context(), "b", b.Spec(nil)); return err })
	b.wantCopies("a", 1)
	b.wantCopies("b", 1)
}

func removesUnknown(b *bench) {
	b.remove("never-seen")
	b.ensure("a", nil)
	b.remove("a")
	b.remove("a")
	if all, err := b.p.List(b.t.Context()); err != nil || len(all) != 0 {
		b.t.Errorf("List = %v, %v", all, err)
	}
}

func removesAndReturns(b *bench) {
	b.untilReady(b.ensure("a", nil).Address)
	b.together(4, func(int) error { return b.p.Remove(b.t.Context(), "a") })
	b.wantCopies("a", 0)
	if st, ok := b.status("a"); ok {
		b.t.Errorf("List still shows %+v", st)
	}
	b.untilReady(b.ensure("a", nil).Address)
	b.wantCopies("a", 1)
}

func lists(b *bench) {
	for i := range 5 {
		b.ensure(provider.ID(fmt.Sprintf("m-%d", i)), nil)
	}
	seen := map[string]bool{}
	for i := range 5 {
		st, ok := b.status(provider.ID(fmt.Sprintf("m-%d", i)))
		if !ok || st.Exited || st.Address == "" || seen[st.Address] {
			b.t.Errorf("instance %d: %v, %+v", i, ok, st)
		}
		seen[st.Address] = true
	}
}

func tellsTheEnd(b *bench) {
	b.ensure("a", map[string]string{"TESTMODEL_EXIT": "7"})
	if st := b.untilExited("a"); !strings.Contains(st.Detail, "7") || st.Address != "" ||
		strings.Contains(st.Detail, "\n") {
		b.t.Errorf("status is %+v", st)
	}
	b.wantCopies("a", 0)
	b.remove("a")
	if _, ok := b.status("a"); ok {
		b.t.Error("a removed instance is listed")
	}
}

func restarts(b *bench) {
	st := b.ensure("a", map[string]string{"TESTMODEL_NAME": "first"})
	b.untilReady(st.Address)
	if _, err := b.invoke(b.t.Context(), st.Address, "crash=1"); err == nil {
		b.t.Fatal("an instance told to crash answered")
	}
	if st := b.untilExited("a"); !strings.Contains(st.Detail, "3") {
		b.t.Errorf("status is %+v", st)
	}
	st = b.ensure("a", map[string]string{"TESTMODEL_NAME": "second"})
	b.untilReady(st.Address)
	b.wantAnswer(st.Address, "second")
	b.wantCopies("a", 1)
}

func announces(b *bench) {
	n, ok := b.p.(provider.Notifier)
	if !ok {
		b.t.Skip("the provider is no Notifier")
	}
	for i := range 3 {
		id := provider.ID(fmt.Sprintf("m-%d", i))
		b.ensure(id, map[string]string{"TESTMODEL_EXIT": "1"})
		for exited := false; !exited; {
			select {
			case <-n.Changes():
			case <-time.After(Patience):
				b.t.Fatalf("the exit of %s was not announced", id)
			}
			st, _ := b.status(id)
			exited = st.Exited
		}
	}
}

func keepsLogs(b *bench) {
	r, ok := b.p.(provider.LogReader)
	if !ok {
		b.t.Skip("the provider is no LogReader")
	}
	b.ensure("a", map[string]string{"TESTMODEL_STDERR": "first line\nsecond line\nlast words", "TESTMODEL_EXIT": "1"})
	b.untilExited("a")
	if got := b.logs("a", 1<<20); got != "first line\nsecond line\nlast words\n" {
		b.t.Errorf("the log reads %q", got)
	}
	if got := b.logs("a", 20); got != "last words\n" {
		b.t.Errorf("the log's last 20 bytes from a line's start read %q", got)
	}
	b.remove("a")
	if got := b.logs("a", 1<<20); lines(got) != 3 {
		b.t.Errorf("after removal the log reads %q", got)
	}
	if _, err := r.Logs(b.t.Context(), "never-seen", 10); !isKind(err, fault.NotFound) {
		b.t.Errorf("the log of an unknown instance: %v", err)
	}
}

func adopts(b *bench) {
	env := map[string]string{"TESTMODEL_NAME": "a"}
	before := b.ensure("a", env)
	b.untilReady(before.Address)
	if _, err := b.invoke(b.t.Context(), before.Address, "status=200"); err != nil {
		b.t.Fatal(err)
	}
	b.ensure("dead", map[string]string{"TESTMODEL_EXIT": "7"})
	b.untilExited("dead")
	b.ensure("removed", nil)
	b.remove("removed")
	b.reopen()
	if st, ok := b.status("a"); !ok || st != before {
		b.t.Errorf("adopted as %+v (%v), was %+v", st, ok, before)
	}
	if st, ok := b.status("dead"); !ok || !st.Exited || !strings.Contains(st.Detail, "7") {
		b.t.Errorf("the dead one is now %+v (%v)", st, ok)
	}
	if st, ok := b.status("removed"); ok {
		b.t.Errorf("the removed one is back as %+v", st)
	}
	if again := b.ensure("a", env); again != before {
		b.t.Errorf("Ensure made %+v of %+v", again, before)
	}
	body, err := b.invoke(b.t.Context(), before.Address, "status=200")
	if err != nil || !strings.Contains(body, `"n":2`) {
		b.t.Errorf("it is not the same process: %q, %v", body, err)
	}
	b.wantCopies("a", 1)
	if _, err := b.invoke(b.t.Context(), before.Address, "crash=1"); err == nil {
		b.t.Error("an instance told to crash answered")
	}
	b.untilExited("a")
	b.untilReady(b.ensure("a", env).Address)
	b.reopen()
	b.remove("a")
	b.remove("dead")
}

func kills(b *bench) {
	s := b.Spec(map[string]string{"TESTMODEL_IGNORE_SIGTERM": "1", "TESTMODEL_CHILD": "group"})
	s.StopGrace = 300 * time.Millisecond
	for _, reopen := range []bool{false, true} {
		b.untilReady(b.ensureSpec("a", s).Address)
		if reopen {
			b.reopen() // the grace is remembered
		}
		begin := time.Now()
		b.remove("a")
		if took := time.Since(begin); took < s.StopGrace || took > s.StopGrace+10*time.Second {
			b.t.Errorf("it took %v with a grace of %v", took, s.StopGrace)
		}
	}
}

func drains(b *bench) {
	st := b.ensure("a", nil)
	b.untilReady(st.Address)
	answered := make(chan error, 1)
	go func() {
		body, err := b.invoke(b.t.Context(), st.Address, "sleep_ms=700,bytes=5")
		if err == nil && body != "xxxxx" {
			err = fmt.Errorf("answer %q", body)
		}
		answered <- err
	}()
	asked := 0
	b.until("the slow invocation was counted besides ours", func() bool {
		asked++
		body, err := b.invoke(b.t.Context(), st.Address, "status=200")
		return err == nil && strings.Contains(body, fmt.Sprintf(`"n":%d,`, asked+1))
	})
	b.remove("a")
	if err := <-answered; err != nil {
		b.t.Errorf("the invocation under way: %v", err)
	}
}

func takesChildrenAlong(b *bench) {
	for _, how := range []string{"group", "session"} {
		id := provider.ID("removed-" + how)
		b.untilReady(b.ensure(id, map[string]string{"TESTMODEL_CHILD": how}).Address)
		b.until("the child runs", func() bool { return b.Copies(id) == 2 })
		b.remove(id)

		id = provider.ID("crashed-" + how)
		st := b.ensure(id, map[string]string{"TESTMODEL_CHILD": how})
		b.untilReady(st.Address)
		if _, err := b.invoke(b.t.Context(), st.Address, "crash=1"); err == nil {
			b.t.Error("an instance told to crash answered")
		}
		b.untilExited(id)
		b.ensure(id, nil)
		b.wantCopies(id, 1)
	}
}

func goesOnRemoving(b *bench) {
	s := b.Spec(map[string]string{"TESTMODEL_IGNORE_SIGTERM": "1"})
	s.StopGrace = time.Second
	b.untilReady(b.ensureSpec("a", s).Address)
	begin := time.Now()
	for {
		ctx, cancel := context.WithTimeout(b.t.Context(), 100*time.Millisecond)
		err := b.p.Remove(ctx, "a")
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > Patience {
			b.t.Fatalf("after %v: %v", time.Since(begin), err)
		}
	}
	b.wantCopies("a", 0)
}

func worksSideBySide(b *bench) {
	s := b.Spec(map[string]string{"TESTMODEL_IGNORE_SIGTERM": "1"})
	s.StopGrace = time.Hour
	b.untilReady(b.ensureSpec("stubborn", s).Address)
	ctx, cancel := context.WithCancel(b.t.Context())
	removed := make(chan error, 1)
	go func() { removed <- b.p.Remove(ctx, "stubborn") }()
	b.together(4, func(i int) error {
		id := provider.ID(fmt.Sprintf("m-%d", i))
		if _, err := b.p.Ensure(b.t.Context(), id, b.Spec(nil)); err != nil {
			return err
		}
		return b.p.Remove(b.t.Context(), id)
	})
	if _, ok := b.status("stubborn"); !ok {
		b.t.Error("the stubborn one is not listed")
	}
	waiting, stop := context.WithTimeout(b.t.Context(), 50*time.Millisecond)
	defer stop()
	_, err := b.p.Ensure(waiting, "stubborn", s)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.t.Errorf("Ensure behind a Remove: %v", err)
	}
	cancel()
	if err := <-removed; !errors.Is(err, context.Canceled) {
		b.t.Errorf("the cancelled Remove returned %v", err)
	}
}

func refuses(b *bench) {
	for _, id := range []provider.ID{"", "..", "a/b", "A", "a b", "ä", provider.ID(strings.Repeat("a", 64))} {
		if _, err := b.p.Ensure(b.t.Context(), id, b.Spec(nil)); !isKind(err, fault.Invalid) {
			b.t.Errorf("id %q: %v", id, err)
		}
	}
	if b.Unrunnable.Image == "" {
		return
	}
	if _, err := b.p.Ensure(b.t.Context(), "a", b.Unrunnable); !isKind(err, fault.Invalid) ||
		!strings.Contains(err.Error(), b.Unrunnable.Image) {
		b.t.Errorf("an unrunnable image: %v", err)
	}
	if st, ok := b.status("a"); ok {
		b.t.Errorf("it is listed as %+v", st)
	}
}
