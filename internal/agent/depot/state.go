package depot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// ID names a package on the disk: the SHA-1 of its object in lower-case hex,
// which is what a deployment knows of it. It tells packages apart; whether one
// is good, its signature says.
type ID string

// Valid reports whether an ID is one, and so fit to be a file's name.
func (id ID) Valid() bool {
	b, err := hex.DecodeString(string(id))
	return err == nil && len(b) == 20 && hex.EncodeToString(b) == string(id)
}

// State is all that a device remembers. A State that was saved is never
// changed: Clone it, change that, and save it.
type State struct {
	Handles []Handle      `json:"handles,omitempty"`
	Job     *Job          `json:"job,omitempty"`     // the deployment under way
	Results []edge.Result `json:"results,omitempty"` // not reported yet, oldest first
	Done    []edge.Result `json:"done,omitempty"`    // reported, oldest first
	Trust   bundle.Trust  `json:"trust"`
}

// Handle is what an application's name for a model leads to.
type Handle struct {
	Name     string `json:"name"`
	Current  ID     `json:"current"`            // what serves
	Previous ID     `json:"previous,omitempty"` // what served well before: the way back needs no network
	Held     ID     `json:"held,omitempty"`     // what failed under DO_NOTHING, kept for inspection
}

// Phase is how far a deployment got.
type Phase string

// The phases. From Flipped on Handles lead to the packages of the deployment.
// It has Ended when its result waits to be reported: until the server took
// that, the way back is open to all of it.
const (
	Preparing Phase = "preparing"
	Flipped   Phase = "flipped"
	Ended     Phase = "ended"
)

// Job is the deployment under way and its position.
type Job struct {
	Name   string             `json:"name"`
	Policy edge.FailurePolicy `json:"policy"`
	Start  time.Time          `json:"start"` // by this device's clock; only ever reported
	Phase  Phase              `json:"phase"`
	Models []Model            `json:"models"`
	Notes  []string           `json:"notes,omitempty"` // for the operator

	Refused bool `json:"refused,omitempty"` // as a whole: it makes no sense

	// Mirror asks that the models run beside what they replace before the flip. The
	// phase is Preparing until then: an agent that knows nothing of it must not take
	// the job for one that has flipped.
	Mirror *edge.Mirror `json:"mirror,omitempty"`
}

// Model is the part of a Job about one handle.
type Model struct {
	Handle  string `json:"handle"`
	URL     string `json:"url,omitempty"`
	Package ID     `json:"package,omitempty"`
	Desired string `json:"desired"` // edge.Deploy or edge.Undeploy

	Offset     int64  `json:"offset,omitempty"` // bytes of the download that are safe
	Best       int64  `json:"best,omitempty"`   // and ever were
	ETag       string `json:"etag,omitempty"`
	Tries      int    `json:"tries,omitempty"`      // in a row that brought nothing new
	Mismatches int    `json:"mismatches,omitempty"` // downloads with the wrong digest
	Loads      int    `json:"loads,omitempty"`      // begun; a load that ends the machine must end itself

	Name    string `json:"name,omitempty"` // of the model, from the manifest
	Version string `json:"version,omitempty"`
	Before  Handle `json:"before"` // what the handle was before the flip
	Failed  string `json:"failed,omitempty"`
	Stuck   string `json:"stuck,omitempty"` // why going back failed

	// Trial is how the model does beside the one that it shall replace, as far as it
	// was saved; never changed, only replaced.
	Trial *edge.TrialState `json:"trial,omitempty"`
}

// Handle returns the handle called name.
func (s *State) Handle(name string) (Handle, bool) {
	i := slices.IndexFunc(s.Handles, func(h Handle) bool { return h.Name == name })
	if i < 0 {
		return Handle{}, false
	}
	return s.Handles[i], true
}

// Put sets a handle; one that leads nowhere is removed unless it holds a
// package for inspection.
func (s *State) Put(h Handle) {
	i := slices.IndexFunc(s.Handles, func(o Handle) bool { return o.Name == h.Name })
	switch {
	case h.Current == "" && h.Held == "":
		if i >= 0 {
			s.Handles = slices.Delete(s.Handles, i, i+1)
		}
	case i >= 0:
		s.Handles[i] = h
	default:
		s.Handles = append(s.Handles, h)
	}
}

// Clone returns a deep copy.
func (s *State) Clone() *State {
	c := *s
	c.Handles = slices.Clone(s.Handles)
	c.Results = slices.Clone(s.Results)
	c.Done = slices.Clone(s.Done)
	if s.Job != nil {
		j := *s.Job
		j.Models, j.Notes = slices.Clone(j.Models), slices.Clone(j.Notes)
		c.Job = &j
	}
	return &c
}

// packages returns every package that the state refers to.
func (s *State) packages() map[ID]bool {
	refs := map[ID]bool{}
	for _, h := range s.Handles {
		refs[h.Current], refs[h.Previous], refs[h.Held] = true, true, true
	}
	if s.Job != nil {
		for _, m := range s.Job.Models {
			b := m.Before
			refs[m.Package], refs[b.Current], refs[b.Previous], refs[b.Held] = true, true, true, true
		}
	}
	delete(refs, "")
	return refs
}

// beyond reports whether s refers to a package or a deployment that o does not.
func (s *State) beyond(o *State) bool {
	if s.Job != nil && o.Job == nil {
		return true
	}
	refs := o.packages()
	for id := range s.packages() {
		if !refs[id] {
			return true
		}
	}
	return false
}

const (
	magic     = "slipway-depot 1" // the number is the format's
	maxState  = 4 << 20
	digestLen = 2 * sha256.Size
)

// encode renders a state file: one line with format, generation and digest,
// then the state.
func encode(s *State, generation uint64) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("%s %d", magic, generation)
	sum := sha256.Sum256(append([]byte(head+"\n"), body...))
	return fmt.Appendf(nil, "%s %x\n%s", head, sum, body), nil
}

var (
	errTorn    = errors.New("the state file is damaged")
	errForeign = errors.New("the state file is of a format that this version does not know")
)

// decode reads a state file, and refuses one that is not whole.
func decode(b []byte) (*State, uint64, error) {
	line, body, ok := bytes.Cut(b, []byte("\n"))
	head, digest, _ := cutLast(line)
	if !ok || len(digest) != digestLen {
		return nil, 0, errTorn
	}
	sum := sha256.Sum256(append(slices.Concat(head, []byte("\n")), body...))
	if hex.EncodeToString(sum[:]) != string(digest) {
		return nil, 0, errTorn
	}
	format, number, _ := cutLast(head)
	if string(format) != magic {
		return nil, 0, errForeign
	}
	var generation uint64
	if _, err := fmt.Sscanf(string(number), "%d", &generation); err != nil {
		return nil, 0, errTorn
	}
	s := &State{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errForeign, err)
	}
	return s, generation, nil
}

func cutLast(b []byte) (before, after []byte, ok bool) {
	i := bytes.LastIndexByte(b, ' ')
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}
