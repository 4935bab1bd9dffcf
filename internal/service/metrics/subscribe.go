package metrics

import (
	"sync"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/loop"
)

// Interest is of which samples of a metric a subscriber hears at once.
type Interest uint8

// What a subscriber may want to hear of.
const (
	Nothing Interest = iota
	NonZero          // of the counts of errors: a request that failed, none that did not
	Every
)

// Subscription tells one subscriber when samples came in that it waits for.
type Subscription struct {
	// Wakeup is notified when such a sample came.
	Wakeup loop.Wakeup

	service   *Service
	interests map[Key]Interest // guarded by fleets.mu

	mu     sync.Mutex // guards what follows: what came since the last call of Updated
	fleets map[*fleet]bool
	keys   map[Key]bool
}

// Subscribe returns a subscription that waits for nothing yet.
func (s *Service) Subscribe() *Subscription {
	u := &Subscription{
		Wakeup: loop.NewWakeup(), service: s, interests: map[Key]Interest{},
		fleets: map[*fleet]bool{}, keys: map[Key]bool{},
	}
	s.fleets.mu.Lock()
	defer s.fleets.mu.Unlock()
	all := append([]*Subscription{u}, *s.subscriptions.Load()...)
	s.subscriptions.Store(&all)
	return u
}

// Watch says of which samples of a metric, from now on, the subscriber hears.
func (u *Subscription) Watch(k Key, i Interest) {
	s := u.service
	s.fleets.mu.Lock()
	defer s.fleets.mu.Unlock()
	if u.interests[k] == i {
		return
	}
	if u.interests[k] = i; i == Nothing {
		delete(u.interests, k)
	}
	if m := s.registry.find(k); m != nil {
		for _, f := range m.fleets {
			s.updateWanted(f)
		}
	}
}

// Updated returns the metrics that the subscriber watches and of which samples
// came since the last call; those samples are in what Reader reads. It may
// name a metric of which none came.
func (u *Subscription) Updated() (keys []Key) {
	u.mu.Lock()
	fleets, updated := u.fleets, u.keys
	u.fleets, u.keys = map[*fleet]bool{}, map[Key]bool{}
	u.mu.Unlock()
	for f := range fleets {
		f.notified.Store(false) // before the samples are taken: what comes now notifies again
		f.drain()
	}
	u.service.fleets.mu.Lock()
	defer u.service.fleets.mu.Unlock()
	for f := range fleets {
		f.each(func(m *metricSeries) { updated[m.key] = true })
	}
	for k := range updated {
		if u.interests[k] != Nothing {
			keys = append(keys, k)
		}
	}
	return keys
}

// notifyFleet tells all that a fleet had a sample that one of them waits for.
func (s *Service) notifyFleet(f *fleet) {
	for _, u := range *s.subscriptions.Load() {
		u.mu.Lock()
		u.fleets[f] = true
		u.mu.Unlock()
		u.Wakeup.Notify()
	}
}

// notify tells who watches a metric that it has a sample, whatever it says.
func (s *Service) notify(k Key) {
	for _, u := range *s.subscriptions.Load() {
		s.fleets.mu.Lock()
		watched := u.interests[k] != Nothing
		s.fleets.mu.Unlock()
		if watched {
			u.mu.Lock()
			u.keys[k] = true
			u.mu.Unlock()
			u.Wakeup.Notify()
		}
	}
}

// updateWanted works out of which outcomes of a fleet's requests somebody wants
// to hear at once. fleets.mu is held.
func (s *Service) updateWanted(f *fleet) {
	bits := uint32(0)
	for n, both := range f.series {
		for _, m := range both {
			if m == nil {
				continue
			}
			for _, u := range *s.subscriptions.Load() {
				switch i := u.interests[m.key]; {
				case i == NonZero && n <= midStreamErrors:
					bits |= 1 << n
				case i != Nothing:
					bits |= 1 << anything
				}
			}
		}
	}
	f.wanted.Store(bits)
}

// Units returns the units that there are samples of a metric in.
func (s *Service) Units(k Key) []metric.Unit {
	if m := s.registry.find(k); m != nil {
		return m.units()
	}
	return nil
}
