package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/agent/disk"
)

func real(t testing.TB) *disk.Real {
	t.Helper()
	r, err := disk.OpenReal(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree renders a disk: every name, and what is in the files.
func tree(f fs.FS) string {
	var lines []string
	_ = fs.WalkDir(f, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			lines = append(lines, path+": "+err.Error())
		case d.IsDir():
			lines = append(lines, path+"/")
		default:
			b, err := fs.ReadFile(f, path)
			lines = append(lines, fmt.Sprintf("%s=%x %v", path, b, err))
		}
		return nil
	})
	return strings.Join(lines, "\n")
}

// The simulated disk is worth what it has in common with a real one.
func TestTheSimulatedDiskDoesWhatARealOneDoes(t *testing.T) {
	names := []string{"a", "b", "d", "d/a", "d/b", "e", "e/a"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "r")
		must(t, err)
		r, err := disk.OpenReal(dir)
		must(t, err)
		defer func() { _ = r.Close() }()
		m := disk.NewMemory(disk.NewPool(), 0)
		for range rapid.IntRange(1, 30).Draw(rt, "ops") {
			op := rapid.IntRange(0, 6).Draw(rt, "op")
			a, b := rapid.SampledFrom(names).Draw(rt, "a"), rapid.SampledFrom(names).Draw(rt, "b")
			n := rapid.SampledFrom([]int{0, 1, 100, 70_000}).Draw(rt, "n")
			var errs [2]error
			for i, f := range []disk.FS{r, m} {
				errs[i] = apply(f, op, a, b, n)
			}
			if (errs[0] == nil) != (errs[1] == nil) {
				rt.Fatalf("op %d %s %s %d: real %v, simulated %v", op, a, b, n, errs[0], errs[1])
			}
			if x, y := tree(r), tree(m); x != y {
				rt.Fatalf("op %d %s %s %d: real\n%.300s\nsimulated\n%.300s", op, a, b, n, x, y)
			}
		}
		before := tree(m)
		if got := tree(m.Reboot(1)); got != before {
			rt.Fatalf("a disk that keeps all has %.300s\nnot %.300s", got, before)
		}
	})
}

func apply(f disk.FS, op int, a, b string, n int) error {
	data := bytes.Repeat([]byte{byte(n), 7, 9}, n/3+1)[:n]
	switch op {
	case 0:
		return disk.WriteSynced(f, a, data)
	case 1:
		w, err := f.Append(a, int64(n/2))
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return errors.Join(err, w.Close())
	case 2:
		if isDir(f, a) { // a directory onto something: systems differ
			return nil
		}
		return f.Rename(a, b)
	case 3:
		return f.Remove(a)
	case 4:
		return f.Mkdir(a)
	case 5:
		return f.SyncDir(".")
	}
	return disk.RemoveAll(f, a)
}

func isDir(f fs.FS, name string) bool {
	info, err := fs.Stat(f, name)
	return err == nil && info.IsDir()
}

func TestWhatWasSyncedIsThereAfterEveryCut(t *testing.T) {
	for seed := range uint64(200) {
		m := disk.NewMemory(disk.NewPool(), 0)
		must(t, disk.WriteSynced(m, "new", []byte("first")))
		must(t, m.Rename("new", "file"))
		must(t, m.SyncDir("."))
		must(t, disk.WriteSynced(m, "new", bytes.Repeat([]byte("second"), 100)))
		must(t, m.Rename("new", "file"))
		got, err := fs.ReadFile(m.Reboot(seed), "file")
		must(t, err)
		if s := string(got); s != "first" && s != strings.Repeat("second", 100) {
			t.Fatalf("seed %d: the file has %q", seed, got)
		}
	}
}

func TestWhatWasNotSyncedMayBeLostKeptOrTorn(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 50)
	seen := map[string]bool{}
	for seed := range uint64(300) {
		m := disk.NewMemory(disk.NewPool(), 0)
		w, err := m.Create("file")
		must(t, err)
		_, err = w.Write(long)
		must(t, err)
		must(t, w.Close())
		got, err := fs.ReadFile(m.Reboot(seed), "file")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			seen["no name"] = true
		case len(got) == 0:
			seen["no content"] = true
		case bytes.Equal(got, long):
			seen["kept"] = true
		case bytes.HasPrefix(long, got):
			seen["prefix"] = true
		default:
			seen["holes"] = true
		}
	}
	for _, want := range []string{"no name", "no content", "kept", "prefix", "holes"} {
		if !seen[want] {
			t.Errorf("no seed shows %q", want)
		}
	}
}

func TestARenameIsNeverHalfDoneWithinADirectory(t *testing.T) {
	for seed := range uint64(100) {
		m := disk.NewMemory(disk.NewPool(), 0)
		must(t, disk.WriteSynced(m, "a", []byte("x")))
		must(t, m.SyncDir("."))
		must(t, m.Rename("a", "b"))
		if got := tree(m.Reboot(seed)); strings.Count(got, "=78") != 1 {
			t.Fatalf("seed %d: after a rename there is\n%s", seed, got)
		}
	}
}

func TestNothingWorksOnceThePowerIsGone(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 0)
	m.CutAfter(2)
	w, err := m.Create("a")
	must(t, err)
	if _, err := w.Write([]byte("x")); !errors.Is(err, disk.ErrCut) {
		t.Errorf("the write that is cut says %v", err)
	}
	if _, err := m.Open("a"); !errors.Is(err, disk.ErrCut) {
		t.Errorf("reading says %v", err)
	}
	if err := m.Mkdir("d"); !errors.Is(err, disk.ErrCut) {
		t.Errorf("mkdir says %v", err)
	}
	if m.Ops() != 2 {
		t.Errorf("%d operations were counted", m.Ops())
	}
}

func TestAFullDiskTakesWhatFitsAndSaysSo(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 10)
	if err := disk.WriteSynced(m, "a", []byte("0123456789abc")); !disk.Full(err) {
		t.Errorf("writing 13 bytes to a disk of 10 says %v", err)
	}
	if m.Free() != 0 || m.Used() != 10 {
		t.Errorf("%d bytes are free, %d used", m.Free(), m.Used())
	}
	must(t, m.Remove("a"))
	must(t, disk.WriteSynced(m, "b", []byte("01234")))
	if m.Free() != 5 {
		t.Errorf("%d bytes are free", m.Free())
	}
}

// A program that syncs again after a failure would trust a lie.
func TestASyncAfterAFailedOneSavesNothing(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 0)
	w, err := m.Create("a")
	must(t, err)
	must(t, m.SyncDir("."))
	_, err = w.Write([]byte("x"))
	must(t, err)
	m.Fault(func(op disk.Op) error {
		if op.Kind == "sync" {
			return syscall.EIO
		}
		return nil
	})
	if err := w.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync says %v", err)
	}
	m.Fault(nil)
	must(t, w.Sync())
	must(t, w.Close())
	if got, err := fs.ReadFile(m.Reboot(0), "a"); err != nil || len(got) != 0 {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestADiskComesToRestOnceEveryNameIsSafe(t *testing.T) {
	m := disk.NewMemory(disk.NewPool(), 0)
	must(t, m.Mkdir("d"))
	must(t, m.Mkdir("d/e"))
	must(t, disk.WriteSynced(m, "d/e/f", []byte("x")))
	for _, d := range []string{"d/e", "d", "."} {
		must(t, m.SyncDir(d))
	}
	if _, rests := m.Copy(); !rests {
		t.Error("with a new tree it does not")
	}
	must(t, disk.RemoveAll(m, "d"))
	if _, rests := m.Copy(); rests {
		t.Error("it rests although a removal may be forgotten")
	}
	must(t, m.SyncDir("."))
	if _, rests := m.Copy(); !rests {
		t.Error("without the tree it does not")
	}
}

func TestEqualDisksCostNextToNothing(t *testing.T) {
	const disks = 2_000
	pool := disk.NewPool()
	data := make([]byte, 100_000)
	before := heap()
	all := make([]*disk.Memory, disks)
	for i := range all {
		m := disk.NewMemory(pool, 0)
		must(t, m.Mkdir("packages"))
		must(t, disk.WriteSynced(m, "packages/model", data))
		must(t, m.SyncDir("packages"))
		must(t, disk.WriteSynced(m, "state", []byte("the same")))
		must(t, m.SyncDir("."))
		all[i] = m
	}
	each := (heap() - before) / disks
	t.Logf("%d bytes a disk", each)
	if each > 300 {
		t.Errorf("an equal disk costs %d bytes", each)
	}
	runtime.KeepAlive(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func TestARealDiskReachesNothingOutsideItsFolder(t *testing.T) {
	r := real(t)
	outside := filepath.Join(filepath.Dir(r.Path(".")), "identity.key")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	must(t, os.Symlink(outside, r.Path("link")))
	for _, name := range []string{"../identity.key", "link", outside} {
		if _, err := r.Create(name); err == nil {
			t.Errorf("%s was opened for writing", name)
		}
		if _, err := r.Append(name, 0); err == nil {
			t.Errorf("%s was opened for appending", name)
		}
		if err := r.Rename("link", "../identity.key"); err == nil {
			t.Error("a file was renamed over the identity")
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("the identity is %q, %v", b, err)
	}
}

func TestARealDiskIsForItsOwnerAndOneProcess(t *testing.T) {
	r := real(t)
	must(t, r.Mkdir("d"))
	must(t, disk.WriteSynced(r, "d/f", []byte("x")))
	must(t, r.SyncDir("d"))
	var modes []fs.FileMode
	for _, name := range []string{".", "d", "d/f"} {
		info, err := os.Stat(r.Path(name))
		must(t, err)
		modes = append(modes, info.Mode().Perm())
	}
	if !slices.Equal(modes, []fs.FileMode{0o700, 0o700, 0o600}) {
		t.Errorf("the modes are %o", modes)
	}
	if r.Free() == 0 {
		t.Error("the disk has no room, it says")
	}
	if _, err := disk.OpenReal(r.Path(".")); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("opening it twice says %v", err)
	}
}
