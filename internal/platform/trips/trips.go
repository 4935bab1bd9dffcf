// Package trips remembers, in a file beside the records, from which deployments
// traffic was taken back before that could be written: a server that is killed in
// between, or restarted while its database is away, must not give the traffic to
// them again. What a trip does is the router's business, and when one is over, too.
package trips

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Trips are the alarms by which traffic was taken back, by deployment.
type Trips map[string]hosting.TrippedAlarm

// Document is what the file holds. It is stored as JSON.
type Document struct {
	Trips Trips `json:"trips"`
}

// Keeper keeps the file.
type Keeper struct {
	path    string
	log     *slog.Logger
	written Trips
	failed  bool // the last time that it was to be written
}

// Open reads the file at path, and what it says. There is none while no traffic is
// taken back. One that cannot be understood is told and left behind: it must not keep
// a server from its models.
func Open(path string, log *slog.Logger) (*Keeper, Trips, error) {
	k := &Keeper{path: path, log: log}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read from which deployments traffic was taken back: %w", err)
	}
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		log.Error("it is not known from which deployments traffic was taken back", "file", path, "err", err)
		return k, nil, nil
	}
	k.written = d.Trips
	return k, maps.Clone(d.Trips), nil
}

// Run has the file say what is so, after each wake-up and every second, until ctx
// ends, and once more then.
func (k *Keeper) Run(ctx context.Context, wake <-chan struct{}, now func() map[string]hosting.TrippedAlarm) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
		k.Keep(now())
		if ctx.Err() != nil {
			return
		}
	}
}

// Keep has the file say what is so. A failure is logged; the next call tries again.
func (k *Keeper) Keep(now Trips) {
	if maps.Equal(now, k.written) && !k.failed {
		return
	}
	err := k.write(now)
	switch {
	case err == nil:
		k.written = maps.Clone(now)
	case !k.failed:
		k.log.Error("it could not be noted from which deployments traffic was taken back; a restart may give it to them "+
			"for a moment", "deployments", len(now), "err", err)
	}
	k.failed = err != nil
}

func (k *Keeper) write(now Trips) error {
	if len(now) == 0 {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil // should a power cut bring it back, no route names its deployments
	}
	text, err := json.Marshal(Document{now})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(k.path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(k.path+".new", k.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(k.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
