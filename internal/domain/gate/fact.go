package gate

import (
	"math"
	"time"
)

// Fact is what one gate has seen of one variant of a deployment so far. It is
// stored as JSON with the deployment.
type Fact struct {
	Kind    Kind   `json:"kind"`
	Variant string `json:"variant"`
	// Deployment is whose evidence it is; nothing of another one is in it.
	Deployment string `json:"-"`
	// Since is when counting began, no earlier than the deployment; At is until
	// when what had ended is in it.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Log10 is the evidence against the new fleet, as the power of ten of the odds:
	// 3 is 1,000 to 1.
	Log10 float64 `json:"log10"`
	// Proof is the evidence, in the same measure, that the new fleet is within its
	// margin, since the traffic of step Step (from 0) moved. That of another step
	// says nothing of the present one.
	Proof float64 `json:"proof,omitempty"`
	Step  int     `json:"step"`
	// Held says why nothing can be compared at the moment, such as "all traffic is
	// on the new fleet", since HeldSince; "" while it can.
	Held      string    `json:"held,omitempty"`
	HeldSince time.Time `json:"heldSince,omitzero"`

	Seen Seen `json:"seen,omitzero"`
	// Uncompared is which part of the pairs was not compared since Step's traffic moved,
	// 0 to 1 (Seen.Uncompared): beyond MostUnseen they prove nothing of that step.
	Uncompared float64 `json:"uncompared,omitempty"`
	// Trail is how Log10 and Proof became what they are.
	Trail Trail `json:"trail,omitzero"`
	// Examples are pairs that differ the most, of those that are captured.
	Examples []Example `json:"examples,omitempty"`
}

// Proven is that a gate was proven in a step when its bake ended. It is stored as
// JSON with the deployment.
type Proven struct {
	Kind     Kind      `json:"kind"`
	Variant  string    `json:"variant"`
	Step     int       `json:"step"` // from 0
	At       time.Time `json:"at"`
	Proof    float64   `json:"proof"`
	Requests int64     `json:"requests"` // of the new fleet, or pairs, that were compared by then
}

// Seen are the numbers behind a Fact, for its sentence.
type Seen struct {
	// New and Old are what became of the fleets' requests that were compared; of
	// pairs, New is of pairs and Old is empty.
	New Tally `json:"new,omitzero"`
	Old Tally `json:"old,omitzero"`
	// Side is which of several things that a gate looks at speaks the loudest: p50,
	// p90 or p99 of times, "label 3" or "below p10" of answers, a Kind of all gates
	// together. What New and Old count is of it.
	Side string `json:"side,omitempty"`
	// Cut is, of times, that quantile of the old fleet.
	Cut time.Duration `json:"cut,omitempty"`
	// Load is, of times, how many requests an instance of the new fleet gets for each
	// that one of the old fleet does, where that is not about one; else 0.
	Load float64 `json:"load,omitempty"`
	// Needed is after about how many of the new fleet's requests, or pairs, a fleet
	// that is no worse would be proven; 0 leaves it to the numbers here.
	Needed int64 `json:"needed,omitempty"`
	// Unseen is which part of the copies was not sent for want of room, 0 to 1.
	Unseen float64 `json:"unseen,omitempty"`
	// Missed is how many requests were not counted for want of room, and Unwatched for
	// how long nobody counted, because the server did not run.
	Missed    int64         `json:"missed,omitempty"`
	Unwatched time.Duration `json:"unwatched,omitempty"`
	// Sized has a bit for each output, by its place, of whose answers only the size is
	// compared, because most of the old fleet's have nothing else to count.
	Sized uint8 `json:"sized,omitempty"`
	// Unread are pairs of answers in which nothing was compared.
	Unread Unread `json:"unread,omitzero"`
}

// MostUnseen is the part of copies, 0 to 1, beyond which those that were compared
// prove nothing: they may be the easy ones.
const MostUnseen = 0.2

// Tally is how many of some requests had the event that a gate looks for. Of
// distances, Events is their sum.
type Tally struct {
	Events   float64 `json:"events"`
	Requests int64   `json:"requests"`
}

// Rate is the part that had the event, 0 to 1; 0 of none.
func (t Tally) Rate() float64 {
	if t.Requests <= 0 {
		return 0
	}
	return t.Events / float64(t.Requests)
}

// Fired reports whether f speaks against a deployment that began then as loudly
// as g was told to listen for. What was counted before counts for another one.
func (g Gate) Fired(f Fact, begun time.Time) bool {
	return f.Kind == g.Kind && g.Judges() && !f.Since.IsZero() && !f.Since.Before(begun) && f.Log10 > g.Threshold()
}

// Shows reports whether f shows, of a deployment that began then, that the new
// fleet was within g's margin in a step, counted from 0.
func (g Gate) Shows(f Fact, begun time.Time, step int) bool {
	return f.Kind == g.Kind && !f.Since.IsZero() && !f.Since.Before(begun) && f.Step == step &&
		f.Proof > g.Threshold()
}

// Point is a gate's value at a time.
type Point struct {
	At    time.Time `json:"at"`
	Log10 float64   `json:"log10"`
	Proof float64   `json:"proof,omitempty"`
}

// Trail is a gate's values over time, oldest first, at most MaxPoints however
// long it grows. It is stored as JSON.
type Trail struct {
	Points []Point `json:"points,omitempty"`
	// Every is the least time between two of the points.
	Every time.Duration `json:"every,omitempty"`
}

// MaxPoints is how many points a Trail keeps.
const MaxPoints = 60

// Add returns the trail with one more value. The last value is always its last
// point. When there are too many, every other one goes, but never the highest.
func (t Trail) Add(p Point) Trail {
	if math.IsNaN(p.Log10) || math.IsNaN(p.Proof) {
		return t
	}
	points := append([]Point(nil), t.Points...)
	n := len(points)
	switch {
	case n > 0 && p.At.Before(points[n-1].At): // the clock was set back
		return Trail{Points: append(points[:0], p)}
	case n > 1 && p.At.Sub(points[n-2].At) < t.Every && (points[n-1].Log10 <= p.Log10 || top(points) != n-1):
		points[n-1] = p
	default:
		points = append(points, p)
	}
	for every := t.Every; len(points) > MaxPoints; {
		every = max(2*every, time.Second)
		points = thin(points, every)
		t.Every = every
	}
	return Trail{Points: points, Every: t.Every}
}

// thin leaves out points that follow the one before them too closely. The first
// and the last stay, and the highest.
func thin(points []Point, every time.Duration) (kept []Point) {
	highest := top(points)
	for i, p := range points {
		last := i == len(points)-1
		if i == 0 || last || i == highest || p.At.Sub(kept[len(kept)-1].At) >= every {
			kept = append(kept, p)
		}
	}
	return kept
}

// top is the place of the highest point, the first if there are several.
func top(points []Point) (top int) {
	for i, p := range points {
		if p.Log10 > points[top].Log10 {
			top = i
		}
	}
	return top
}
