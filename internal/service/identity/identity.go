// Package identity is who devices are: it keeps the device CA, things and their
// certificates, the policies attached to those and the role aliases, and says
// what credentials the holder of a certificate may have (edge spec §5).
//
// It promises that a certificate's private key is handed out once and kept
// nowhere; that credentials are granted only for an active certificate, a thing
// that is attached to it, and an alias that its policies allow; that a session
// which stands on a certificate is dead as soon as that is deactivated,
// detached or deleted, within PollEvery on the other servers that share the
// database; and that an enrollment makes everything a device needs in one
// transaction, once.
//
// The CA's key, and the seed of the secrets of enrollment tokens, are in the
// store, so that all servers of one database share them. What protects them is
// what protects the database: the data directory's mode for SQLite, the
// database's own access control for PostgreSQL. They are never logged and never
// leave this package.
//
// Issuing sessions, and the words of the AWS APIs, is not its job; nor is any
// other action that a policy may allow.
package identity

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/clock"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
	edgestore "github.com/slipway-ml/slipway/internal/platform/store/edge"
	store "github.com/slipway-ml/slipway/internal/platform/store/identity"
)

// Config is what a Service is made of.
type Config struct {
	Store   store.DB
	Fleets  edgestore.DB // that devices enroll in
	Account string
	Log     *slog.Logger

	// SigningRoots returns what packages have to be signed under, PEM by
	// region. Nil: nothing.
	SigningRoots func(ctx context.Context) (map[string]string, error)
	// Endpoint is the host:port at which devices reach the device listener; ""
	// while there is none.
	Endpoint func() string
	// URL is where devices that have no certificate yet reach the server, such
	// as http://10.0.0.5:9400. Nil: they cannot enroll.
	URL func() string

	// MaxSession is the longest that a role's credentials may last; 12 h.
	MaxSession time.Duration
	// PollEvery is how often changes by other servers are looked for; 1 s.
	PollEvery time.Duration
}

// maxKeys bounds how many RSA keys are made at once: each takes a processor for
// some tenths of a second.
const maxKeys = 2

// Service keeps identities. Its methods may be called at the same time.
type Service struct {
	Config
	ca    *devicetls.CA
	seed  []byte
	keys  chan struct{} // holds a token for each RSA key in the making
	index index
}

// New opens the device CA, and makes one if there is none, and reads which
// certificates are good.
func New(ctx context.Context, c Config) (*Service, error) {
	c.MaxSession = cmp.Or(c.MaxSession, 12*time.Hour)
	c.PollEvery = cmp.Or(c.PollEvery, time.Second)
	if c.Endpoint == nil {
		c.Endpoint = func() string { return "" }
	}
	s := &Service{Config: c, keys: make(chan struct{}, maxKeys)}
	a, err := authority(ctx, c.Store)
	if err != nil {
		return nil, err
	}
	if s.ca, err = devicetls.OpenCA(a.Certificate, a.Key); err != nil {
		return nil, err
	}
	s.seed = a.Seed
	if err := s.refresh(ctx); err != nil {
		return nil, fmt.Errorf("load certificates: %w", err)
	}
	return s, nil
}

// authority returns the one device CA of the store.
func authority(ctx context.Context, st store.DB) (trust.Authority, error) {
	a, ok, err := st.DeviceCA(ctx)
	if err != nil || ok {
		return a, err
	}
	mine := trust.Authority{Seed: make([]byte, 32), Created: clock.Now()}
	_, _ = rand.Read(mine.Seed) // never fails (crypto/rand)
	if mine.Certificate, mine.Key, err = devicetls.NewCA(); err != nil {
		return a, err
	}
	if err := st.KeepDeviceCA(ctx, mine); err != nil {
		return a, err
	}
	// Another server may have been faster: what the store has counts.
	if a, ok, err = st.DeviceCA(ctx); err == nil && !ok {
		err = fmt.Errorf("the device CA was not kept")
	}
	return a, err
}

// CA returns the certificate of the device CA, PEM: what devices trust the
// listener by.
func (s *Service) CA() string { return s.ca.PEM() }

// change makes a change, and the certificates that it touched known at once.
func (s *Service) change(ctx context.Context, f func(store.Tx) error) error {
	if err := s.Store.Change(ctx, f); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.refresh(ctx); err != nil {
		// The change is made; the next look finds it.
		s.Log.WarnContext(ctx, "changes of certificates were not read", "err", err)
	}
	return nil
}

// Run follows what other servers change, and forgets what is gone, until ctx
// ends.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.every(ctx, s.PollEvery, "changes of certificates were not read", s.refresh) })
	wg.Go(func() {
		s.every(ctx, 10*time.Minute, "old certificates were not forgotten", func(ctx context.Context) error {
			return s.Store.PruneCertificates(ctx, time.Now().Add(-keepGone))
		})
	})
}

func (s *Service) every(ctx context.Context, d time.Duration, failed string, do func(context.Context) error) {
	clock.Every(ctx, d, func() {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "upkeep failed", "what", failed, "err", err)
		}
	})
}

// TLSConfig returns the configuration of the device listener (devicetls.Config)
// for the names, host names or addresses, by which devices reach it besides
// localhost.
func (s *Service) TLSConfig(names ...string) (*tls.Config, error) {
	return devicetls.Config(s.ca, names...)
}
