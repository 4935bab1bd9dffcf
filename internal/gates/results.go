package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// results are the bakes of one scenario, with run numbers from 0 on. They are
// kept in a file, so that a measurement that was interrupted goes on.
type results struct {
	Name  string                  `json:"name"`
	Seed  uint64                  `json:"seed"`
	Runs  int                     `json:"runs"`
	Found [judges + peers][]found `json:"found"` // by judge, of the runs in which it was against the new fleet
}

// perSave is how many bakes are lost when a measurement is interrupted.
const perSave = 100

// measure bakes a scenario until it has runs bakes, those in the folder
// included; no folder, and nothing is kept.
func measure(s scenario, t *tables, seed uint64, runs int, folder string) (*results, error) {
	r := &results{Name: s.name, Seed: seed}
	if err := r.load(folder); err != nil {
		return nil, err
	}
	for r.Runs < runs {
		for j, f := range (life{s, t, seed, uint64(r.Runs), never}).live() {
			if f.Yes {
				r.Found[j] = append(r.Found[j], f)
			}
		}
		if r.Runs++; r.Runs%perSave == 0 || r.Runs == runs {
			if err := r.save(folder); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func (r *results) file(folder string) string {
	return filepath.Join(folder, fmt.Sprintf("%s-%d.json", r.Name, r.Seed))
}

func (r *results) load(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := os.ReadFile(r.file(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := *r
	if err := json.Unmarshal(text, &kept); err != nil || kept.Seed != r.Seed || kept.Name != r.Name {
		return err // another seed: measured anew
	}
	*r = kept
	return nil
}

func (r *results) save(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	whole := r.file(folder) + ".new"
	if err := os.WriteFile(whole, text, 0o600); err != nil {
		return err
	}
	return os.Rename(whole, r.file(folder))
}

// summary is what is kept of a scenario's results, with the repository.
type summary struct {
	Runs   int       `json:"runs"`
	Seeds  []uint64  `json:"seeds"`
	Judges []verdict `json:"judges"` // as judged has them
}

// verdict is what one judge said.
type verdict struct {
	Against  int `json:"against"`            // bakes
	Requests int `json:"requests,omitempty"` // of the new fleet until then, in the median
	Seconds  int `json:"seconds,omitempty"`  // in the median
	Late     int `json:"late,omitempty"`     // seconds that nine in ten took at most
}

// summarize puts results of one scenario together, of several seeds.
func summarize(all ...*results) (s summary) {
	s.Judges = make([]verdict, judges+peers)
	for _, r := range all {
		s.Runs, s.Seeds = s.Runs+r.Runs, append(s.Seeds, r.Seed)
	}
	for j := range s.Judges {
		var requests, seconds []int
		for _, r := range all {
			for _, f := range r.Found[j] {
				requests, seconds = append(requests, f.Requests), append(seconds, f.Second)
			}
		}
		s.Judges[j] = verdict{len(seconds), quantile(requests, 0.5), quantile(seconds, 0.5), quantile(seconds, 0.9)}
	}
	return s
}

// quantile is the value that the share q does not exceed; 0 of none. It sorts.
func quantile(v []int, q float64) int {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}
