package evidence

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

var golden = flag.String("golden", "", "write testdata/<name>: what is stored now")

// stored is what a server keeps of a gate, and what it says.
type stored struct {
	Gate    string     `json:"gate"` // of designs
	State   State      `json:"state"`
	Proof   ProofState `json:"proof"`
	Ledger  Ledger     `json:"ledger"`
	Profile Profile    `json:"profile"`
	Cuts    Cuts       `json:"cuts"`
	Value   float64    `json:"value"`
	Proven  float64    `json:"proven"`
}

// What an earlier release stored is read without a member left over, says what it
// said, and is written again as it was.
func TestStoredEvidenceKeepsItsMeaning(t *testing.T) {
	if *golden != "" {
		writeGolden(t, filepath.Join("testdata", *golden))
	}
	files, err := filepath.Glob("testdata/v*/*.json")
	if err != nil || len(files) < len(designs()) {
		t.Fatal(files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var was stored
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&was); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		again, err := json.MarshalIndent(was, "", "\t")
		if err != nil || string(again)+"\n" != string(text) {
			t.Errorf("%s is written again as %s, %v", path, again, err)
		}
		g := designs()[was.Gate]
		p, err := Restore(g, was.State)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		proof := NewProof(g, 60, true, 0)
		if err := RestoreProof(proof, was.Proof, 1000); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if math.Abs(p.Value()-was.Value) > 1e-9 || math.Abs(proof.Value()-was.Proven) > 1e-9 {
			t.Errorf("%s says %v and %v; it was %v and %v", path, p.Value(), proof.Value(), was.Value, was.Proven)
		}
		if s := p.State(); !reflect.DeepEqual(s, was.State) {
			t.Errorf("%s: the state is %+v, it was %+v", path, s, was.State)
		}
		l := &was.Ledger
		if l.Take("router-1", 7, 68) || l.Take("router-1", 7, 66) || !l.Take("router-1", 7, 67) {
			t.Errorf("%s: the ledger takes other reports", path)
		}
	}
}

func writeGolden(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, g := range designs() {
		p, proof := New(g), NewProof(g, 60, true, 900)
		for i := range 30 {
			for slot := range 4 {
				for cell := range g.Cells {
					n := float64(30 / (1 + cell*cell))
					c := Count{Share: 0.05, Slot: slot, Cell: cell, N: n}
					p.Count(c)
					proof.Count(int64(900+i), c)
					c.Old, c.N = true, 19*n
					p.Count(c)
					proof.Count(int64(900+i), c)
				}
			}
			proof.Close(int64(901 + i))
			if i < 29 {
				p.Close()
			}
		}
		doc := stored{
			Gate: name, State: p.State(), Proof: proof.State(),
			Ledger:  Ledger{Routers: map[string]Taken{"router-1": {Incarnation: 7, Last: 68, Before: 1<<62 - 2}}},
			Profile: LabelProfile([]uint64{7, 8}, []float64{90, 9}, 1), Cuts: Cuts{0.02, 0.04, 0.08},
		}
		doc.Profile.Cuts = &[3]float64{-1, 0, 1}
		again, err := Restore(g, doc.State)
		if err != nil {
			t.Fatal(err)
		}
		read := NewProof(g, 60, true, 0)
		if err := RestoreProof(read, doc.Proof, 1000); err != nil {
			t.Fatal(err)
		}
		doc.Value, doc.Proven = again.Value(), read.Value()
		text, err := json.MarshalIndent(doc, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, string(g.Kind)+"-"+name+".json")
		if err := os.WriteFile(at, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
