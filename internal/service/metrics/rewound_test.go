package metrics_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

// The store loses what was written last, and keeps what was replaced: the samples
// were seen all the same, each once.
func TestSamplesThatTheStoreLostAreWrittenAgain(t *testing.T) {
	db := storetest.SQLite(t)
	w := newWorld(t, db)
	run := func(statement string) {
		t.Helper()
		ok(t, db.Change(t.Context(), func(tx *store.Tx) error { return tx.Run(t.Context(), "test", statement) }))
	}
	for range 5 {
		x := sample(true)
		x.At = time.Now().Add(-time.Minute)
		w.Sample(x)
	}
	ok(t, w.Flush(t.Context()))
	run(`update chunk set start = start - 3600`) // where memory has nothing
	run(`delete from series where name = 'ModelLatency'`)
	ok(t, w.Flush(t.Context())) // nothing changed
	w.Rewrite()
	ok(t, w.Flush(t.Context()))
	next := newWorld(t, db)
	for _, id := range []string{"Invocation5XXErrors", "ModelLatency"} {
		m := errorsOf("e", "v", "c")
		m.Name = id
		if got, want := next.stat(m, metric.SampleCount), w.stat(m, metric.SampleCount); got != want || want != 5 {
			t.Errorf("%s: the next server has %v samples, this one %v", id, got, want)
		}
	}
	var chunks, hours int
	row := db.Read().QueryRowContext(t.Context(), `select count(*), count(distinct start / 3600) from chunk`)
	ok(t, row.Scan(&chunks, &hours))
	if chunks == 0 || hours > 2 { // an hour may have ended meanwhile
		t.Errorf("%d chunks of %d hours are kept", chunks, hours)
	}
}
