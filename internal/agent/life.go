package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/agent/disk"
)

// The files that tell of the agent's lives: running is there while one lasts,
// crashes says how many ended without taking it away.
const (
	runningFile = "running"
	crashesFile = "crashes"
)

// life counts how often the agent, or the machine under it, ended without a
// word. It is a count for people: a disk that refuses it stops nothing.
type life struct {
	fs      disk.FS
	crashes int64
}

// startLife marks that an agent runs, after counting what became of the last.
func startLife(ctx context.Context, fsys disk.FS, log *slog.Logger) *life {
	l := &life{fs: fsys}
	if err := l.start(); err != nil {
		log.WarnContext(ctx, "crashes are not counted", "err", err)
	}
	if l.crashes > 0 {
		log.InfoContext(ctx, "the agent did not always end as it should", "crashes", l.crashes)
	}
	return l
}

func (l *life) start() error {
	text, err := disk.ReadLimited(l.fs, crashesFile, 64)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the count: %w", err)
	}
	// What cannot be read counts from nothing again.
	l.crashes, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if _, err := fs.Stat(l.fs, runningFile); err == nil {
		l.crashes++
		if err := l.write(crashesFile, strconv.FormatInt(l.crashes, 10)); err != nil {
			return err
		}
	}
	return l.write(runningFile, "")
}

// write replaces a file in one step, lasting.
func (l *life) write(name, text string) error {
	if err := disk.WriteSynced(l.fs, name+".new", []byte(text)); err != nil {
		return err
	}
	if err := l.fs.Rename(name+".new", name); err != nil {
		return err
	}
	return l.fs.SyncDir(".")
}

// end says that this life ended as it should.
func (l *life) end() error {
	if err := l.fs.Remove(runningFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.fs.SyncDir(".")
}
