package capture

import "github.com/prometheus/client_golang/prometheus"

// Why a request was not captured.
const (
	causeFull        = "full"        // too many waited for the writer
	causeRoom        = "memory"      // the bodies that are held beside answers had no room
	causeStopped     = "stopped"     // nothing is captured: disk or spool are full
	causeDestination = "destination" // its bucket cannot be used
	causeDisk        = "disk"        // the spool could not be written
	causeExpired     = "expired"     // its bucket was missing for too long
)

type counters struct {
	lines, files prometheus.Counter
	drops        *prometheus.CounterVec
}

func newCounters() counters {
	return counters{
		lines: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_capture_lines_total", Help: "Requests that were captured.",
		}),
		files: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_capture_objects_total", Help: "Objects of captured requests that were put into buckets.",
		}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_capture_dropped_total", Help: "Requests that were to be captured and were not, by cause.",
		}, []string{"cause"}),
	}
}

func (c counters) dropped(cause string, n int) { c.drops.WithLabelValues(cause).Add(float64(n)) }

func (c counters) register(r prometheus.Registerer, s *Service) error {
	if r == nil {
		return nil
	}
	for _, m := range []prometheus.Collector{
		c.lines, c.files, c.drops,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "slipway_capture_spool_bytes", Help: "Captured data on the disk that is not in its bucket yet.",
		}, func() float64 { return float64(s.spool.bytes.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "slipway_capture_stopped", Help: "1 while no endpoint's requests are captured, for want of room.",
		}, func() float64 {
			if s.stopped.Load() != nil {
				return 1
			}
			return 0
		}),
	} {
		if err := r.Register(m); err != nil {
			return err
		}
	}
	return nil
}
