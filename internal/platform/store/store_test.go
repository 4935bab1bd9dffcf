package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

func onBoth(t *testing.T, f func(*testing.T, *store.DB)) {
	t.Helper()
	storetest.OnBoth(t, f)
}

func change(t *testing.T, db *store.DB, f func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := db.Change(t.Context(), func(tx *store.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}
