package connlimit_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// Whoever looks on at others' requests never takes what those need.
func TestThoseWhoLookOnTakeAQuarterAndNothingOfTheSecondHalf(t *testing.T) {
	b := connlimit.NewBudget(1000)
	body := make([]byte, 250)
	first := b.Share(body, 250, nil)
	if first == nil || b.Share(body[:1], 1, nil) != nil || b.Looking() != 250 || b.Used() != 250 {
		t.Errorf("a quarter: %v, of %d used %d", first, b.Used(), b.Looking())
	}
	first.Release()
	claim, ok := b.Reserve(400, connlimit.Payer{Key: "k", Address: netip.Addr{}, Proven: true})
	if !ok || b.Share(body[:101], 101, nil) != nil {
		t.Error("they take of the second half")
	}
	second := b.Share(body[:100], 100, nil)
	if second == nil {
		t.Error("they get nothing of the first half")
	}
	claim.Release()
	second.Release()
	if b.Used() != 0 || b.Looking() != 0 {
		t.Errorf("%d and %d are left", b.Used(), b.Looking())
	}
}

// No request is refused, nor has its memory counted out, because somebody looks on.
func TestRequestsHaveTheirMemoryWhoeverLooksOn(t *testing.T) {
	b := connlimit.NewBudget(1000)
	watched := b.Share(make([]byte, 250), 250, nil)
	claim, ok := b.Reserve(200, connlimit.Payer{Proven: true})
	if watched == nil || !ok || b.Scarce() {
		t.Errorf("memory is scarce while requests hold a fifth of it, %v", ok)
	}
	rest, ok := b.Reserve(800, connlimit.Payer{Proven: true})
	if !ok {
		t.Error("a request is refused for what those hold who look on")
	}
	if _, more := b.Reserve(1, connlimit.Payer{Proven: true}); more {
		t.Error("there is no bound")
	}
	claim.Release()
	rest.Release()
	watched.Release()
}

func TestSharedBytesGoBackWithTheirLastHolder(t *testing.T) {
	b := connlimit.NewBudget(1 << 20)
	for range 100 {
		back := 0
		s := b.Share([]byte("x"), 1, func() { back++ })
		var wg sync.WaitGroup
		for range 4 {
			held := s.Hold()
			wg.Go(func() {
				if string(held.Bytes()) != "x" {
					t.Error("the bytes are others")
				}
				held.Release()
			})
		}
		s.Release()
		wg.Wait()
		if back != 1 || b.Looking() != 0 {
			t.Fatalf("they went back %d times, %d are held", back, b.Looking())
		}
	}
}

func TestTooManyReleasesAreAFaultOfTheProgram(t *testing.T) {
	for name, twice := range map[string]func(s *connlimit.Shared){
		"released again": func(s *connlimit.Shared) { s.Release() },
		"held again":     func(s *connlimit.Shared) { s.Hold() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: nobody noticed", name)
				}
			}()
			s := connlimit.NewBudget(10).Share(nil, 1, nil)
			s.Release()
			twice(s)
		}()
	}
}

// Whatever passes in whatever parts, what is gathered is its beginning, and the
// memory is counted.
func TestACopyIsTheBeginningOfWhatPassed(t *testing.T) {
	const seed = 1
	x := rand.New(rand.NewPCG(seed, 0))
	b := connlimit.NewBudget(4 << 20)
	for n := range 500 {
		var all []byte
		var c connlimit.Copy
		most := x.IntN(100_000)
		c.Begin(b, most)
		hint := int64(x.IntN(200_000) - 1)
		for range x.IntN(30) {
			p := make([]byte, x.IntN(10_000))
			for i := range p {
				p[i] = byte(x.Uint32())
			}
			all = append(all, p...)
			c.Add(p, hint)
			if len(c.Bytes()) > most || b.Looking() < int64(len(c.Bytes())) || b.Looking() > 300_000 {
				t.Fatalf("seed %d, %d: %d of %d bytes, %d counted", seed, n, len(c.Bytes()), most, b.Looking())
			}
		}
		want := all[:min(len(all), most)]
		if !bytes.Equal(c.Bytes(), want) || c.Truncated != (len(all) > most) || c.Dropped {
			t.Fatalf("seed %d, %d: %d bytes of %d, %+v", seed, n, len(c.Bytes()), len(all), c)
		}
		if x.IntN(2) == 0 {
			s := c.Share()
			c.Drop()
			if !bytes.Equal(s.Bytes(), want) {
				t.Fatalf("seed %d, %d: it is lost with the copy", seed, n)
			}
			s.Release()
		}
		c.Drop()
		if b.Used() != 0 {
			t.Fatalf("seed %d, %d: %d bytes are left", seed, n, b.Used())
		}
	}
}

func TestACopyForWhichThereIsNoRoomIsDropped(t *testing.T) {
	b := connlimit.NewBudget(4000)
	var c connlimit.Copy
	c.Begin(b, 5000)
	for range 5 {
		c.Add(make([]byte, 300), -1)
	}
	if !c.Dropped || c.Bytes() != nil || b.Used() != 0 {
		t.Errorf("%d bytes, dropped %v, %d held", len(c.Bytes()), c.Dropped, b.Used())
	}
}
