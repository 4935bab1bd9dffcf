package untrusted_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

func TestAReaderTellsASourceThatFailedFromOneThatEnded(t *testing.T) {
	whole := untrusted.NewReader(t.Context(), strings.NewReader("abc"))
	var to bytes.Buffer
	if n, err := untrusted.Copy(&to, whole, make([]byte, 2)); n != 3 || err != nil || to.String() != "abc" {
		t.Errorf("%d, %v, %q", n, err, &to)
	}
	if whole.Count() != 3 || whole.Err() != nil {
		t.Errorf("%d bytes, %v", whole.Count(), whole.Err())
	}
	broken := errors.New("the network is down")
	cut := untrusted.NewReader(t.Context(), io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)))
	if _, err := io.ReadAll(cut); !errors.Is(err, broken) || !errors.Is(cut.Err(), broken) || cut.Count() != 2 {
		t.Errorf("%v, %v, %d bytes", err, cut.Err(), cut.Count())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late := untrusted.NewReader(ctx, strings.NewReader("abc"))
	if _, err := io.ReadAll(late); !errors.Is(err, context.Canceled) || !errors.Is(late.Err(), context.Canceled) {
		t.Errorf("%v, %v", err, late.Err())
	}
}

func TestOnlyZerosAreAllZero(t *testing.T) {
	for text, want := range map[string]bool{"": true, "\x00\x00": true, "\x00\x01": false} {
		if untrusted.AllZero([]byte(text)) != want {
			t.Errorf("%q", text)
		}
	}
}
