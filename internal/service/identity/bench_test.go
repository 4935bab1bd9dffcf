package identity_test

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	identitystore "github.com/slipway-ml/slipway/internal/platform/store/identity"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/identity"
)

// BenchmarkAlive asks whether sessions stand while there are 100,000 active
// certificates. It says what loading them takes, and how much memory.
func BenchmarkAlive(b *testing.B) {
	const n = 100_000
	db := identitystore.New(storetest.SQLite(b))
	id := func(i int) string { return fmt.Sprintf("%064x", i*2654435761) }
	err := db.Change(b.Context(), func(tx identitystore.Tx) error {
		for i := range n {
			c := trust.Certificate{
				Scope: scope, ID: id(i), Status: trust.Active, Created: time.Unix(1, 0), Modified: time.Unix(1, 0),
			}
			if err := errors.Join(
				tx.InsertCertificate(b.Context(), c),
				tx.AttachThing(b.Context(), scope, c.ID, fmt.Sprintf("fleet-1:device-%06d", i)),
			); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	s, err := identity.New(b.Context(), identity.Config{
		Store: db, Account: scope.Account, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	loaded := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	cert := id(n / 2)
	thing := fmt.Sprintf("fleet-1:device-%06d", n/2)
	for b.Loop() {
		if !s.Alive(cert, thing) {
			b.Fatal("it is dead")
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/certificate")
	b.ReportMetric(loaded.Seconds(), "s-load")
}

// BenchmarkAssume grants a session: what a device asks once an hour.
func BenchmarkAssume(b *testing.B) {
	db := identitystore.New(storetest.SQLite(b))
	s, err := identity.New(b.Context(), identity.Config{
		Store: db, Account: scope.Account, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	k, err := s.CreateKeysAndCertificate(ctx, scope, true)
	if err != nil {
		b.Fatal(err)
	}
	p := trust.Policy{
		Scope: scope, Name: "p",
		Document: `{"Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}}`,
	}
	_, err = s.CreateThing(ctx, trust.Thing{Scope: scope, Name: "cam"})
	err = errors.Join(
		err, s.EnsureAlias(ctx, scope, "f", role), s.CreatePolicy(ctx, p, nil),
		s.AttachPolicy(ctx, scope, "p", k.ARN()), s.AttachThing(ctx, scope, "cam", k.ARN()),
	)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Assume(ctx, identity.Ask{CertificateID: k.ID, Alias: "SageMakerEdge-f"}); err != nil {
			b.Fatal(err)
		}
	}
}
