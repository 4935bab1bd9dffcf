// Package depot is what the device agent keeps on its disk: model packages by
// digest, parts of downloads, and the state that says which package each
// handle has. It promises that a power cut at any operation leaves the state
// before it or the state after it, that the state never refers to a package
// that is not whole, and that nothing referred to is ever removed.
//
//	state.a, state.b      the two last generations of the state; the later whole one counts
//	packages/<id>/        unpacked packages; there as a whole or not at all
//	parts/<id>            downloads under way, safe up to the offset in the state
//	staging/<id>/         packages being unpacked; nothing refers to them
//
// Decisions are package device's. Keys and certificates of the device live in
// another folder, which nothing here can reach.
package depot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/slipway-ml/slipway/internal/agent/disk"
)

const (
	packages = "packages"
	parts    = "parts"
	staging  = "staging"
	scratch  = "state.tmp"
)

var slots = [2]string{"state.a", "state.b"}

// ErrNoRoom says that a file does not fit onto the disk.
var ErrNoRoom = errors.New("there is not enough room on the disk")

// Depot is one device's disk. It is for one goroutine at a time.
type Depot struct {
	disk       disk.FS
	state      *State
	generation uint64 // the highest ever tried
	slot       int8   // where the state lies that was saved last
	stale      bool   // the other slot refers to what the state does not
}

// Finding is what Open met on the disk.
type Finding struct {
	Damaged []string // state files that are damaged or of an unknown format
	Lost    bool     // there were state files, and none of them can be read
}

// Open returns the depot on a disk, in the last state that was saved. Damage
// does not fail it; only a disk that cannot be used does.
func Open(fsys disk.FS) (*Depot, Finding, error) {
	d := &Depot{disk: fsys, state: &State{}}
	var found Finding
	var other *State
	for i, name := range slots {
		b, err := disk.ReadLimited(fsys, name, maxState)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var s *State
		var generation uint64
		if err == nil {
			s, generation, err = decode(b)
		}
		switch {
		case err != nil:
			found.Damaged = append(found.Damaged, fmt.Sprintf("%s: %v", name, err))
		case other == nil || generation > d.generation:
			other, d.state, d.generation, d.slot = d.state, s, generation, int8(i)
		default:
			other = s
		}
	}
	found.Lost = other == nil && len(found.Damaged) > 0
	d.stale = other != nil && other.beyond(d.state)
	return d, found, d.prepare()
}

// prepare makes the folders.
func (d *Depot) prepare() error {
	made := false
	for _, dir := range []string{packages, parts, staging} {
		if _, err := fs.Stat(d.disk, dir); err == nil {
			continue
		}
		if err := d.disk.Mkdir(dir); err != nil {
			return err
		}
		made = true
	}
	if !made {
		return nil
	}
	return d.disk.SyncDir(".")
}

// State returns the state that was saved last; it must not be changed.
func (d *Depot) State() *State { return d.state }

// Save replaces the state in one step. After an error the disk may hold either
// state: the caller must save again before it relies on one.
func (d *Depot) Save(next *State) error {
	d.generation++
	b, err := encode(next, d.generation)
	if err != nil {
		return err
	}
	slot := 1 - d.slot
	if err := disk.WriteSynced(d.disk, scratch, b); err != nil {
		return fmt.Errorf("save the state: %w", errors.Join(err, d.dropScratch(err)))
	}
	if err := d.disk.Rename(scratch, slots[slot]); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	if err := d.disk.SyncDir("."); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	d.stale = d.state.beyond(next)
	d.state, d.slot = next, slot
	return nil
}

// dropScratch gives a full disk its bytes back.
func (d *Depot) dropScratch(why error) error {
	if !disk.Full(why) {
		return nil
	}
	return d.disk.Remove(scratch)
}

// Has reports whether the package lies unpacked on the disk.
func (d *Depot) Has(id ID) bool {
	info, err := fs.Stat(d.disk, packages+"/"+string(id))
	return err == nil && info.IsDir()
}

// Package returns the files of a package, and where an engine finds them.
func (d *Depot) Package(id ID) (files fs.FS, path string, err error) {
	name := packages + "/" + string(id)
	files, err = fs.Sub(d.disk, name)
	return files, d.disk.Path(name), err
}

// Free returns how many bytes may still be written.
func (d *Depot) Free() uint64 { return d.disk.Free() }

// Part opens the download of a package for writing after its first at bytes.
func (d *Depot) Part(id ID, at int64) (disk.File, error) {
	name := parts + "/" + string(id)
	if at > 0 {
		return d.disk.Append(name, at)
	}
	f, err := d.disk.Create(name)
	if err != nil {
		return nil, err
	}
	if err := d.disk.SyncDir(parts); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenPart opens the download of a package for reading.
func (d *Depot) OpenPart(id ID) (io.ReadCloser, error) {
	return d.disk.Open(parts + "/" + string(id))
}

// DropPart removes the download of a package; none there is fine.
func (d *Depot) DropPart(id ID) error {
	err := d.disk.Remove(parts + "/" + string(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, d.disk.SyncDir(parts))
}

// Collect removes what neither the state nor a download under way refers to.
// It first lets the older generation of the state go, if that refers to what
// the state does not.
func (d *Depot) Collect() error {
	if d.stale {
		if err := d.Save(d.state); err != nil {
			return err
		}
	}
	refs := d.state.packages()
	fetching := map[ID]bool{}
	if d.state.Job != nil {
		for _, m := range d.state.Job.Models {
			fetching[m.Package] = true
		}
	}
	var err error
	if _, missing := fs.Stat(d.disk, scratch); missing == nil {
		err = errors.Join(d.disk.Remove(scratch), d.disk.SyncDir("."))
	}
	return errors.Join(
		err,
		d.sweep(packages, func(id ID) bool { return refs[id] }),
		d.sweep(parts, func(id ID) bool { return fetching[id] && !d.Has(id) }),
		d.sweep(staging, func(ID) bool { return false }))
}

func (d *Depot) sweep(dir string, keep func(ID) bool) error {
	entries, err := fs.ReadDir(d.disk, dir)
	if err != nil {
		return err
	}
	removed := false
	for _, e := range entries {
		if keep(ID(e.Name())) {
			continue
		}
		removed = true
		if rmErr := disk.RemoveAll(d.disk, dir+"/"+e.Name()); rmErr != nil {
			err = errors.Join(err, rmErr)
		}
	}
	if removed {
		err = errors.Join(err, d.disk.SyncDir(dir))
	}
	return err
}

// Stage is a package that is being unpacked. It is a bundle.Sink.
type Stage struct {
	d       *Depot
	id      ID
	reserve uint64
}

// Stage begins to unpack a package; reserve bytes of the disk must stay free.
func (d *Depot) Stage(id ID, reserve uint64) (*Stage, error) {
	s := &Stage{d: d, id: id, reserve: reserve}
	if err := s.Drop(); err != nil {
		return nil, err
	}
	return s, d.disk.Mkdir(s.dir())
}

func (s *Stage) dir() string { return staging + "/" + string(s.id) }

// Create makes a file of the package; it is safe when its Close returns.
// ErrNoRoom says that it would not fit.
func (s *Stage) Create(name string, size int64) (io.WriteCloser, error) {
	if !fs.ValidPath(name) || name == "." || strings.Contains(name, "/") {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	}
	if free := s.d.disk.Free(); size < 0 || free < s.reserve || free-s.reserve < uint64(size) {
		return nil, fmt.Errorf(
			"%w: %s needs %d bytes, %d are free and %d of them reserved", ErrNoRoom, name, size, free,
			s.reserve)
	}
	f, err := s.d.disk.Create(s.dir() + "/" + name)
	if err != nil {
		return nil, err
	}
	return &staged{f}, nil
}

// staged is a file that is whole when it is closed.
type staged struct{ disk.File }

// Abort lets go of a file that is not wanted after all.
func (f *staged) Abort() { _ = f.File.Close() }

func (f *staged) Close() error {
	err := f.Sync()
	return errors.Join(err, f.File.Close())
}

// Install moves the package to its place, as a whole.
func (s *Stage) Install() error {
	fsys, place := s.d.disk, packages+"/"+string(s.id)
	if err := fsys.SyncDir(s.dir()); err != nil {
		return err
	}
	if s.d.Has(s.id) { // damaged, or it would not have been fetched again
		if err := disk.RemoveAll(fsys, place); err != nil {
			return err
		}
	}
	if err := fsys.Rename(s.dir(), place); err != nil {
		return err
	}
	return errors.Join(fsys.SyncDir(packages), fsys.SyncDir(staging))
}

// Drop removes what was unpacked so far.
func (s *Stage) Drop() error {
	if _, err := fs.Stat(s.d.disk, s.dir()); err != nil {
		return nil // there is nothing, or the disk says why later
	}
	return errors.Join(disk.RemoveAll(s.d.disk, s.dir()), s.d.disk.SyncDir(staging))
}
