package depot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func id(n int) depot.ID { return depot.ID(fmt.Sprintf("%040x", n)) }

func open(t testing.TB, d disk.FS) (*depot.Depot, depot.Finding) {
	t.Helper()
	dep, found, err := depot.Open(d)
	must(t, err)
	return dep, found
}

// install puts a package with one file on the disk.
func install(t testing.TB, d *depot.Depot, id depot.ID) {
	t.Helper()
	s, err := d.Stage(id, 0)
	must(t, err)
	w, err := s.Create("model.onnx", 5)
	must(t, err)
	_, err = w.Write([]byte(id)[35:])
	must(t, err)
	must(t, w.Close())
	must(t, s.Install())
}

func serving(ids ...depot.ID) *depot.State {
	s := &depot.State{}
	for i, id := range ids {
		s.Put(depot.Handle{Name: fmt.Sprintf("h%d", i), Current: id})
	}
	return s
}

func TestTheStateIsReplacedAsAWhole(t *testing.T) {
	for n := 1; ; n++ {
		for seed := range uint64(12) {
			m := disk.NewMemory(disk.NewPool(), 0)
			d, _ := open(t, m)
			must(t, d.Save(serving(id(1))))
			m.CutAfter(m.Ops() + n)
			err := d.Save(serving(id(2), id(3)))
			if err == nil {
				return
			}
			d, found := open(t, m.Reboot(seed))
			if len(found.Damaged) > 0 {
				t.Fatalf("cut %d, seed %d: %v", n, seed, found.Damaged)
			}
			if k := len(d.State().Handles); k != 1 && k != 2 {
				t.Fatalf("cut %d, seed %d: %d handles", n, seed, k)
			}
		}
	}
}

func TestADamagedOrUnknownStateIsTheOneBefore(t *testing.T) {
	spoil := map[string]func([]byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"cut off":    func(b []byte) []byte { return b[:len(b)-1] },
		"a bit":      func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"zeros":      func(b []byte) []byte { return make([]byte, len(b)) },
		"the future": func(b []byte) []byte { return []byte("slipway-depot 2 9 " + strings.Repeat("0", 64) + "\n{}") },
		"enormous":   func(b []byte) []byte { return make([]byte, 5<<20) },
	}
	for name, f := range spoil {
		for _, both := range []bool{false, true} {
			m := disk.NewMemory(disk.NewPool(), 0)
			d, _ := open(t, m)
			must(t, d.Save(serving(id(1)))) // state.b
			must(t, d.Save(serving(id(1), id(2))))
			for _, file := range []string{"state.a", "state.b"}[:1+len(both2(both))] {
				b, err := fs.ReadFile(m, file)
				must(t, err)
				must(t, disk.WriteSynced(m, file, f(b)))
			}
			d, found := open(t, m)
			if want := 1 - len(both2(both)); len(d.State().Handles) != want || len(found.Damaged) != 2-want ||
				found.Lost != both {
				t.Errorf("%s: %d handles, %+v", name, len(d.State().Handles), found)
			}
			must(t, d.Save(serving(id(1), id(2), id(3)))) // and it goes on
			if d, _ := open(t, m); len(d.State().Handles) != 3 {
				t.Errorf("%s: the next state is lost", name)
			}
		}
	}
}

func both2(b bool) []int {
	if b {
		return make([]int, 1)
	}
	return nil
}

func TestNothingThatIsReferredToIsEverCollected(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 0)
	d, _ := open(t, m)
	for n := range 12 {
		install(t, d, id(n))
		f, err := d.Part(id(n+100), 0)
		must(t, err)
		must(t, f.Close())
	}
	s := &depot.State{
		Handles: []depot.Handle{{Name: "a", Current: id(0), Previous: id(1), Held: id(2)}},
		Job: &depot.Job{Name: "d", Models: []depot.Model{
			{Handle: "a", Package: id(3), Before: depot.Handle{Current: id(4), Previous: id(5), Held: id(6)}},
			{Handle: "b", Package: id(101)},
		}},
	}
	must(t, d.Save(serving(id(7))))
	must(t, d.Save(s))
	must(t, d.Collect())
	var kept []string
	for _, dir := range []string{"packages", "parts", "staging"} {
		entries, err := fs.ReadDir(m, dir)
		must(t, err)
		for _, e := range entries {
			kept = append(kept, strings.TrimLeft(e.Name(), "0"))
		}
	}
	if !slices.Equal(kept, []string{"", "1", "2", "3", "4", "5", "6", "65"}) {
		t.Errorf("kept: %q", kept)
	}
	// The generation before the present one refers to nothing that is gone.
	for _, file := range []string{"state.a", "state.b"} {
		c, ok := m.Copy()
		if !ok {
			t.Fatal("the disk is not at rest")
		}
		must(t, disk.WriteSynced(c, file, nil))
		d, _ := open(t, c)
		for _, h := range d.State().Handles {
			if !d.Has(h.Current) {
				t.Errorf("without %s a handle leads to %s, which is gone", file, h.Current)
			}
		}
	}
}

func TestAPackageIsThereAsAWholeOrNotAtAll(t *testing.T) {
	for n := 1; ; n++ {
		for seed := range uint64(12) {
			m := disk.NewMemory(disk.NewPool(), 0)
			d, _ := open(t, m)
			m.CutAfter(m.Ops() + n)
			s, err := d.Stage(id(12345), 0)
			for _, name := range []string{"a", "b"} {
				if err == nil {
					var w interface {
						Write([]byte) (int, error)
						Close() error
					}
					if w, err = s.Create(name, 300); err == nil {
						_, err = w.Write(bytes.Repeat([]byte(name), 300))
						err = errors.Join(err, w.Close())
					}
				}
			}
			if err == nil {
				err = s.Install()
			}
			if err == nil {
				return
			}
			d, _ = open(t, m.Reboot(seed))
			if !d.Has(id(12345)) {
				continue
			}
			files, _, err := d.Package(id(12345))
			must(t, err)
			for _, name := range []string{"a", "b"} {
				if b, err := fs.ReadFile(files, name); err != nil || !bytes.Equal(b, bytes.Repeat([]byte(name), 300)) {
					t.Fatalf("cut %d, seed %d: %s has %d bytes, %v", n, seed, name, len(b), err)
				}
			}
		}
	}
}

func TestFilesOfAPackageStayInItsFolderAndLeaveRoom(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 1000)
	d, _ := open(t, m)
	s, err := d.Stage(id(1), 400)
	must(t, err)
	for _, name := range []string{"", ".", "..", "../state.a", "/etc/passwd", "a/b"} {
		if _, err := s.Create(name, 1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := s.Create("large", 601); !errors.Is(err, depot.ErrNoRoom) {
		t.Errorf("a file that would take the reserve: %v", err)
	}
	w, err := s.Create("fits", 600)
	must(t, err)
	must(t, w.Close())
}

// The state has what is reported in it: it must come back as it was.
func TestEveryFieldOfTheStateComesBack(t *testing.T) {
	at := time.Date(2031, 5, 6, 7, 8, 9, 10, time.UTC)
	r := edge.Result{Deployment: "d-1", Status: "FAIL", Message: "m", Start: at, End: at, Models: []edge.ModelResult{{
		Handle: "a", Name: "n", Version: "v", Desired: "DEPLOY", State: "UNDEPLOY", Status: "FAIL", Reason: "r",
		RollbackFailure: "f",
	}}}
	s := &depot.State{
		Handles: []depot.Handle{{Name: "a", Current: id(1), Previous: id(2), Held: id(3)}},
		Results: []edge.Result{r}, Done: []edge.Result{r},
		Job: &depot.Job{
			Name: "d-2", Policy: edge.DoNothing, Start: at, Phase: depot.Flipped, Notes: []string{"n"},
			Models: []depot.Model{{
				Handle: "a", URL: "s3://b/k", Package: id(4), Desired: "DEPLOY", Offset: 1, Best: 2, ETag: "e",
				Tries:      3,
				Mismatches: 4, Loads: 5,
				Name: "n", Version: "v", Before: depot.Handle{Name: "a", Current: id(5)}, Failed: "f", Stuck: "s",
			}},
		},
	}
	s.Trust.MinKey, s.Trust.Floors = 3, map[string]uint64{"n": 7}
	m := disk.NewMemory(disk.NewPool(), 0)
	d, _ := open(t, m)
	must(t, d.Save(s))
	d, _ = open(t, m)
	if got, want := fmt.Sprintf("%+v %+v", *d.State(), *d.State().Job), fmt.Sprintf("%+v %+v", *s,
		*s.Job); pointerless(got) != pointerless(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func pointerless(s string) string {
	i := strings.Index(s, "Job:0x")
	return s[:i] + s[i+strings.Index(s[i:], " "):]
}

func TestARealDepotLeavesItsNeighboursAlone(t *testing.T) {
	home := t.TempDir()
	key := filepath.Join(home, "private.pem.key")
	must(t, os.WriteFile(key, []byte("secret"), 0o400))
	r, err := disk.OpenReal(filepath.Join(home, "depot"))
	must(t, err)
	defer func() { _ = r.Close() }()
	d, _ := open(t, r)
	install(t, d, id(1))
	must(t, d.Save(serving(id(1))))
	must(t, d.Save(serving()))
	must(t, d.Collect())
	if d.Has(id(1)) {
		t.Error("the package is still there")
	}
	if b, err := os.ReadFile(key); err != nil || string(b) != "secret" {
		t.Errorf("the key is %q, %v", b, err)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 2 {
		t.Errorf("beside the depot there is %v, %v", entries, err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("slipway-depot 1 7 " + strings.Repeat("0", 64) + "\n{}"))
	f.Add([]byte("slipway-depot 1 "))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := disk.NewMemory(disk.NewPool(), 0)
		must(t, disk.WriteSynced(m, "state.a", b))
		d, found := open(t, m)
		if len(found.Damaged) == 0 {
			t.Errorf("%q was taken for a state: %+v", b, d.State())
		}
		must(t, d.Save(serving(id(1))))
	})
}
