package process_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/provider"
	"github.com/slipway-ml/slipway/internal/platform/provider/process"
)

func TestAnInstanceIsMeteredWithWhatItStarted(t *testing.T) {
	p := newHome(t, process.Config{}).open()
	// The child burns; the instance itself sleeps.
	busy := []string{"/bin/sh", "-c", "while :; do :; done & sleep 60"}
	_, err := p.Ensure(t.Context(), "i-1", provider.Spec{Image: "x", Command: busy, StopGrace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		used, err := p.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u := used["i-1"]; len(used) == 1 && u.CPU >= 100*time.Millisecond && u.Memory > 0 && u.Memory < 0.5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s: %+v", used)
		}
	}
	if err := p.Remove(t.Context(), "i-1"); err != nil {
		t.Fatal(err)
	}
	if used, err := p.Usage(t.Context()); err != nil || len(used) != 0 {
		t.Errorf("%v, %v", used, err)
	}
}
