package metrics_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// keyOf is a metric of the tests' region.
func keyOf(id metric.ID) metrics.Key { return metrics.Key{Region: scope.Region, Metric: id.Key()} }

// heard reports whether a subscriber was notified, and what of.
func heard(u *metrics.Subscription) (notified bool, keys []metrics.Key) {
	select {
	case <-u.Wakeup:
		notified = true
	default:
	}
	return notified, u.Updated()
}

func TestSubscribersHearOfTheSamplesThatTheyWaitFor(t *testing.T) {
	failed, latency := errorsOf("e", "v", "c"), errorsOf("e", "v", "")
	latency.Name = "ModelLatency"
	db := storetest.SQLite(t)
	for name, tt := range map[string]struct {
		watched  metric.ID
		interest metrics.Interest
		sample   func(w *world)
		want     bool
	}{
		"a request that failed":     {failed, metrics.NonZero, func(w *world) { w.Sample(sample(true)) }, true},
		"one that did not":          {failed, metrics.NonZero, func(w *world) { w.Sample(sample(false)) }, false},
		"every request":             {failed, metrics.Every, func(w *world) { w.Sample(sample(false)) }, true},
		"a latency, whatever it is": {latency, metrics.NonZero, func(w *world) { w.Sample(sample(false)) }, true},
		"nothing any more":          {failed, metrics.Nothing, func(w *world) { w.Sample(sample(true)) }, false},
		"another fleet": {
			errorsOf("e", "v", "d"), metrics.Every, func(w *world) { w.Sample(sample(true)) }, false,
		},
		"what a client puts":         {orders, metrics.NonZero, func(w *world) { w.order(0) }, true},
		"what a client puts besides": {failed, metrics.Every, func(w *world) { w.order(1) }, false},
	} {
		for when, known := range map[string]bool{"known before": true, "new": false} {
			w := newWorld(t, db) // to which nothing is flushed
			if known {
				w.Sample(sample(false))
			}
			u := w.Subscribe()
			u.Watch(keyOf(tt.watched), metrics.Every)
			u.Watch(keyOf(tt.watched), tt.interest)
			tt.sample(w)
			notified, keys := heard(u)
			if notified != tt.want || (len(keys) == 1 && keys[0] == keyOf(tt.watched)) != tt.want {
				t.Errorf("%s, %s: notified %v of %v", name, when, notified, keys)
			}
			if again, _ := heard(u); again {
				t.Errorf("%s, %s: notified twice", name, when)
			}
		}
	}
}

// What one has taken, another still hears of; and what comes after somebody
// looked is heard of again.
func TestEverySubscriberHearsForItself(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	first, second := w.Subscribe(), w.Subscribe()
	for _, u := range []*metrics.Subscription{first, second} {
		u.Watch(keyOf(errorsOf("e", "v", "c")), metrics.NonZero)
	}
	for range 3 {
		w.Sample(sample(true))
		for i, u := range []*metrics.Subscription{first, second} {
			if notified, keys := heard(u); !notified || len(keys) != 1 {
				t.Errorf("subscriber %d: notified %v of %v", i, notified, keys)
			}
		}
	}
	if got := w.stat(errorsOf("e", "v", "c"), metric.Sum); got != 3 {
		t.Errorf("%v errors, want 3", got)
	}
}

// When a subscriber looks, the sample of which it was told is there to be read.
func TestWhatIsHeardOfCanBeRead(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	u := w.Subscribe()
	u.Watch(keyOf(errorsOf("e", "v", "c")), metrics.NonZero)
	w.Sample(sample(true))
	if units := w.Units(keyOf(errorsOf("e", "v", "c"))); len(units) > 0 {
		t.Fatalf("it was there before anybody looked: %v", units)
	}
	u.Updated()
	if units := w.Units(keyOf(errorsOf("e", "v", "c"))); len(units) != 1 {
		t.Errorf("units %v", units)
	}
}
