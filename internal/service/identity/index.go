package identity

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/trust"
)

// keepGone is how long the store remembers that a certificate is gone; a server
// that has not looked for half of that reads everything again.
const keepGone = time.Hour

// index is which certificates are good, and for which things, in memory: every
// request that stands on one asks. It takes about 100 bytes for each active
// certificate.
type index struct {
	reading sync.Mutex // held by who reads the store; guards version and read
	version int64
	read    time.Time

	mu     sync.RWMutex
	active map[fingerprint]string // the things, each with a zero byte after it
}

type fingerprint [32]byte

func fingerprintOf(id string) (f fingerprint, ok bool) {
	if len(id) != 2*len(f) {
		return f, false
	}
	_, err := hex.Decode(f[:], []byte(id))
	return f, err == nil
}

// Alive reports whether a session that was granted to the holder of a
// certificate for a thing still stands: the certificate is active, and attached
// to the thing. It answers from memory.
func (s *Service) Alive(certificateID, thing string) bool {
	f, ok := fingerprintOf(certificateID)
	if !ok {
		return false
	}
	x := &s.index
	x.mu.RLock()
	things, active := x.active[f]
	x.mu.RUnlock()
	return active && (thing == certificateID || has(things, thing))
}

// has reports whether thing is among things.
func has(things, thing string) bool {
	for name := range strings.SplitSeq(things, "\x00") {
		if name == thing && name != "" {
			return true
		}
	}
	return false
}

// Reread reads all certificates anew, because the store ran backwards.
func (s *Service) Reread(ctx context.Context) error {
	x := &s.index
	x.reading.Lock()
	x.read = time.Time{}
	x.reading.Unlock()
	return s.refresh(ctx)
}

// refresh reads what changed since it was called last.
func (s *Service) refresh(ctx context.Context) error {
	const page = 5000
	x := &s.index
	x.reading.Lock()
	defer x.reading.Unlock()
	started := time.Now()
	version, fresh := x.version, map[fingerprint]string(nil)
	if started.Sub(x.read) > keepGone/2 {
		version, fresh = 0, map[fingerprint]string{}
	}
	for {
		changes, err := s.Store.CertificateChanges(ctx, version, page)
		if err != nil {
			return err
		}
		if n := len(changes); n > 0 {
			version = changes[n-1].Version
		}
		if fresh != nil {
			apply(fresh, changes)
		} else if len(changes) > 0 {
			x.mu.Lock()
			apply(x.active, changes)
			x.mu.Unlock()
			x.version = version
		}
		if len(changes) < page {
			break
		}
	}
	if fresh != nil {
		x.mu.Lock()
		x.active = fresh
		x.mu.Unlock()
	}
	x.version, x.read = version, started
	return nil
}

func apply(active map[fingerprint]string, changes []trust.Change) {
	for _, c := range changes {
		f, ok := fingerprintOf(c.ID)
		switch {
		case !ok: // nothing that we wrote
		case c.Active:
			var b strings.Builder
			for _, t := range slices.Sorted(slices.Values(c.Things)) {
				b.WriteString(t + "\x00")
			}
			active[f] = b.String()
		default:
			delete(active, f)
		}
	}
}
