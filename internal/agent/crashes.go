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

// The files that count crashes: running is there while an agent runs, crashes says
// how many ended without removing it.
const (
	runningFile = "running"
	crashesFile = "crashes"
)

// crashCounter counts how often the agent, or the machine under it, ended without
// being stopped. It is for people: a disk that refuses it stops nothing.
type crashCounter struct {
	fs    disk.FS
	count int64
}

// countCrashes marks that an agent runs, after counting the last one if it crashed.
func countCrashes(ctx context.Context, fsys disk.FS, log *slog.Logger) *crashCounter {
	c := &crashCounter{fs: fsys}
	if err := c.start(); err != nil {
		log.WarnContext(ctx, "crashes are not counted", "err", err)
	}
	if c.count > 0 {
		log.InfoContext(ctx, "the agent did not always end as it should", "crashes", c.count)
	}
	return c
}

func (c *crashCounter) start() error {
	text, err := disk.ReadLimited(c.fs, crashesFile, 64)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the count: %w", err)
	}
	// What cannot be read counts from nothing again.
	c.count, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if _, err := fs.Stat(c.fs, runningFile); err == nil {
		c.count++
		if err := c.write(crashesFile, strconv.FormatInt(c.count, 10)); err != nil {
			return err
		}
	}
	return c.write(runningFile, "")
}

// write replaces a file in one step, lasting.
func (c *crashCounter) write(name, text string) error {
	if err := disk.WriteSynced(c.fs, name+".new", []byte(text)); err != nil {
		return err
	}
	if err := c.fs.Rename(name+".new", name); err != nil {
		return err
	}
	return c.fs.SyncDir(".")
}

// end says that this agent ended as it should.
func (c *crashCounter) end() error {
	if err := c.fs.Remove(runningFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.fs.SyncDir(".")
}
