package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

type phase string

const (
	starting phase = "starting"
	running  phase = "running"
	exited   phase = "exited"
)

// record is what the next server needs to know of an instance. It holds no
// environment: that may contain secrets, and every Ensure brings it anew.
type record struct {
	ID           provider.ID   `json:"id"`
	Phase        phase         `json:"phase"`
	PID          int           `json:"pid,omitempty"`   // running, exited
	Start        uint64        `json:"start,omitempty"` // of the process, in clock ticks since Boot
	Boot         string        `json:"boot,omitempty"`
	Dir          string        `json:"dir,omitempty"` // that the record was written in
	Port         int           `json:"port,omitempty"`
	Grace        time.Duration `json:"grace_ns,omitempty"`
	Detail       string        `json:"detail,omitempty"` // exited
	ModelDir     string        `json:"model_dir,omitempty"`
	Image        string        `json:"image,omitempty"` // this and the rest: for people
	InstanceType string        `json:"instance_type,omitempty"`
	Endpoint     string        `json:"endpoint,omitempty"`
	Variant      string        `json:"variant,omitempty"`
	Began        time.Time     `json:"began,omitzero"`
}

func (r record) address() string {
	return net.JoinHostPort(child.Loopback, strconv.Itoa(r.Port))
}

// valid guards against a damaged file: a pid of 0 or 1 would make a signal hit
// this server or everything.
func (r record) valid(id provider.ID) bool {
	return r.ID == id && (r.Phase == starting || r.Phase == exited || r.Phase == running && r.PID > 1)
}

// paths knows where things are. root has no symbolic links in it, so that it
// reads the same to every server that opens it.
type paths struct{ root string }

func makePaths(dir string) (paths, error) {
	if dir == "" {
		return paths{}, fmt.Errorf("no directory is configured")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return paths{}, err
	}
	p := paths{dir}
	for _, sub := range []string{"instances", "logs", "work", "no-model"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return paths{}, err
		}
	}
	p.root, err = filepath.EvalSymlinks(dir)
	return p, err
}

func (p paths) lock() string      { return filepath.Join(p.root, "lock") }
func (p paths) logLock() string   { return filepath.Join(p.root, "logs.lock") }
func (p paths) instances() string { return filepath.Join(p.root, "instances") }
func (p paths) logs() string      { return filepath.Join(p.root, "logs") }
func (p paths) works() string     { return filepath.Join(p.root, "work") }
func (p paths) noModel() string   { return filepath.Join(p.root, "no-model") }
func (p paths) record(id provider.ID) string {
	return filepath.Join(p.instances(), string(id)) + ".json"
}

func (p paths) log(id provider.ID) string      { return filepath.Join(p.logs(), string(id)) + ".log" }
func (p paths) olderLog(id provider.ID) string { return p.log(id) + ".1" }
func (p paths) work(id provider.ID) string     { return filepath.Join(p.works(), string(id)) }
func (p paths) idOf(record string) provider.ID {
	return provider.ID(strings.TrimSuffix(filepath.Base(record), ".json"))
}
func (p paths) isRecord(name string) bool { return strings.HasSuffix(name, ".json") }

// write replaces the record atomically. It is not flushed to the disk: a record
// must outlive this process, and after a power loss no instance lives either.
func (p paths) write(r record) error {
	r.Dir = p.root
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := p.record(r.ID)
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		_ = os.Remove(tmp) // half a file helps nobody
		return fmt.Errorf("write record of instance %s: %w", r.ID, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp) // as above
		return fmt.Errorf("write record of instance %s: %w", r.ID, err)
	}
	return nil
}

// read returns the record; one that is damaged comes back as an exited instance
// that says so, so that whoever wanted it starts or removes it.
func (p paths) read(id provider.ID) (record, error) {
	b, err := os.ReadFile(p.record(id))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || !r.valid(id) {
		return record{ID: id, Phase: starting, Detail: "its record was damaged"}, nil
	}
	return r, nil
}

// Recorded returns the ids of the instances that are recorded in a directory, as
// it is: nothing is adopted or removed.
func Recorded(dir string) (ids []provider.ID, err error) {
	p := paths{dir}
	files, err := os.ReadDir(p.instances())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files {
		if id := p.idOf(f.Name()); p.isRecord(f.Name()) && validID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
