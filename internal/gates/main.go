// Command gates measures what the gates of package evidence promise: how often
// they stop a deployment that nothing is wrong with, how soon they find one that
// is bad, and what other judges make of the same traffic. It runs the shipping
// code under virtual time, each bake from a seed, and writes the tables of
// docs/gates.md.
//
//	go run ./internal/gates -only same,lat+30 -runs 200
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "scenarios, by comma; extra: what is no bake; empty: all")
	flag.IntVar(&o.runs, "runs", 0, "bakes of each scenario; 0: as many as the page has")
	flag.Uint64Var(&o.seed, "seed", 1, "where luck comes from")
	flag.StringVar(&o.keep, "keep", "", "a folder for what was measured, to go on from")
	flag.StringVar(&o.write, "write", "", "the repository, to write the page and its numbers")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are what a measurement may be told.
type options struct {
	only        string
	runs        int
	seed        uint64
	keep, write string
}

// wants reports whether something is to be measured.
func (o *options) wants(name string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), name)
}

// run measures, a scenario on each processor, and then writes.
func run(o options) error {
	if o.keep != "" {
		if err := os.MkdirAll(o.keep, 0o700); err != nil {
			return err
		}
	}
	t, faults := newTables(), make(chan error, 1)
	todo := make(chan func() error)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for work := range todo {
				if err := work(); err != nil {
					select {
					case faults <- err:
					default: // one is enough
					}
				}
			}
		})
	}
	if o.wants("extra") {
		todo <- func() error { return o.extra(t) }
	}
	for _, s := range everything() {
		if o.wants(s.name) {
			todo <- func() error { return o.scenario(s, t) }
		}
	}
	close(todo)
	wg.Wait()
	close(faults)
	if err := <-faults; err != nil || o.write == "" {
		return err
	}
	return write(o.keep, o.write)
}

func (o *options) scenario(s scenario, t *tables) error {
	if o.runs > 0 {
		s.runs = o.runs
	}
	r, err := measure(s, t, o.seed, s.runs, o.keep)
	if err == nil {
		fmt.Print(r)
	}
	return err
}

// extra measures what is no bake, unless it is kept.
func (o *options) extra(t *tables) error {
	runs := o.runs
	if runs == 0 {
		runs = 500
	}
	at := filepath.Join(o.keep, "extra.json")
	if _, err := os.Stat(at); err == nil && o.keep != "" {
		return nil
	}
	text, err := json.MarshalIndent(beyond(t, o.seed, runs), "", "\t")
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", text)
	if o.keep == "" {
		return nil
	}
	return os.WriteFile(at, text, 0o600)
}

// String lists what each judge found.
func (r *results) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s (%d bakes, seed %d)\n", r.Name, r.Runs, r.Seed)
	for j, v := range summarize(r).Judges {
		fmt.Fprintf(&b, "%-24s %6.2f%%", judged[j], 100*float64(v.Against)/float64(r.Runs))
		if v.Against > 0 {
			fmt.Fprintf(&b, " %8d requests %6d s (%d)", v.Requests, v.Seconds, v.Late)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
