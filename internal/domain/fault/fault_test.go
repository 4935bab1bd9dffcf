package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

func TestPublicHidesTheCause(t *testing.T) {
	err := fmt.Errorf("load: %w", fault.New(fault.NotFound, "endpoint %q does not exist", "a").Because(io.EOF))
	if !errors.Is(err, fault.NotFound) || !errors.Is(err, io.EOF) {
		t.Fatalf("kind or cause lost: %v", err)
	}
	if k, msg := fault.Public(err); k != fault.NotFound || msg != `endpoint "a" does not exist` {
		t.Errorf("Public = %v, %q", k, msg)
	}
	if _, msg := fault.Public(io.EOF); msg != "internal error" {
		t.Errorf("unclassified error leaked %q", msg)
	}
}

func TestEveryKindHasAName(t *testing.T) {
	for k := fault.Internal; k <= fault.Unsupported; k++ {
		if k.Error() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
