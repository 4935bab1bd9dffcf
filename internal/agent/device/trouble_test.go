package device_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// A device says after the first failure what is in the way, once, and goes on.
func TestTroubleIsToldOnceAfterTheFirstFailure(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	must(t, b.boot())
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	early := -1 // how often a download was tried when the trouble was told
	b.run(func() {
		if len(b.cloud.troubles) > 0 && early < 0 {
			early = b.cloud.fetches
		}
	})
	if told := only(t, b.cloud.troubles); told.Deployment != "d-1" ||
		!strings.Contains(told.Message, "a: the package could not be downloaded") ||
		!strings.Contains(told.Message, "the object does not exist") {
		t.Errorf("told %+v", told)
	}
	if r := only(t, b.cloud.results); r.Status != "FAIL" || early >= b.cloud.fetches {
		t.Errorf("told after %d of %d attempts; in the end %+v", early, b.cloud.fetches, r)
	}
}

// A disk without room for as much as the state keeps the device from beginning:
// that, too, is told.
func TestADiskThatTakesNothingIsTold(t *testing.T) {
	f := newFactory(t)
	w := newWares(t, f)
	b := newBox(t, f, newCloud())
	b.cloud.put(w.all()...)
	must(t, b.boot())
	full := true
	b.disk.Fault(func(op disk.Op) error {
		if full && op.Kind != "remove" && op.Kind != "syncdir" {
			return syscall.ENOSPC
		}
		return nil
	})
	b.cloud.offered = []edge.Deployment{deploy("d-1", edge.RollbackOnFailure, w.a1.definition("a"))}
	b.run(func() { full = full && len(b.cloud.troubles) == 0 }) // room is made once it is known
	if told := only(t, b.cloud.troubles); told.Deployment != "d-1" ||
		!strings.HasPrefix(told.Message, "the disk is full") {
		t.Errorf("told %+v", told)
	}
	b.run(nil)
	if r := only(t, b.cloud.results); r.Status != "SUCCESS" {
		t.Errorf("in the end %+v", r)
	}
}
