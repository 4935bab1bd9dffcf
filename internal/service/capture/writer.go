package capture

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Bounds of a stream's lines, in bytes.
const (
	maxText  = 256 << 10 // put together before they are written: more would not stay in the processor's cache
	keptText = 1 << 20   // room for them that is kept
)

// Run captures until ctx ends. Then it writes what was taken before, and tries to
// put all files where they go.
func (s *Service) Run(ctx context.Context) {
	files, err := s.spool.left()
	if err != nil {
		s.Log.ErrorContext(ctx, "captured requests of an earlier server could not be read", "dir", s.Dir, "err", err)
	}
	for _, f := range files {
		s.up.add(f)
	}
	uploads, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.up.run(uploads) })
	s.write(ctx)
	s.end(ctx)
	stop()
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	s.up.flush(last)
}

// write is the writer's loop.
func (s *Service) write(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s.checkRoom(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(gather):
			}
			s.drain(ctx)
		case <-tick.C:
			s.checkRoom(ctx)
			s.tidy(ctx, time.Now())
		}
	}
}

// end writes what is left and closes every file; from here on nothing is taken.
func (s *Service) end(ctx context.Context) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.drain(ctx)
	for _, st := range s.all() {
		s.close(ctx, st)
	}
}

func (s *Service) all() (all []*stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		all = append(all, st)
	}
	return all
}

// drain writes the records that wait.
func (s *Service) drain(ctx context.Context) {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = nil
	batches := make([][]item, len(dirty))
	for i, st := range dirty {
		batches[i] = st.waiting
		st.waiting, st.spare = st.spare[:0], nil
	}
	s.mu.Unlock()
	for i, st := range dirty {
		s.writeBatch(ctx, st, batches[i])
		clear(batches[i])
		st.spare = batches[i]
	}
}

func (s *Service) writeBatch(ctx context.Context, st *stream, batch []item) {
	bytes := 0
	for i := range batch {
		bytes += batch[i].size
		s.writeItem(ctx, st, &batch[i])
	}
	s.flush(ctx, st)
	if cap(st.text) > keptText {
		st.text = nil
	}
	s.mu.Lock()
	st.held -= len(batch)
	st.bytes -= bytes
	s.mu.Unlock()
}

// writeItem appends a record's line to the file that it belongs to.
func (s *Service) writeItem(ctx context.Context, st *stream, it *item) {
	defer s.letGo(it)
	if st.file != nil {
		full := st.file.end+int64(len(st.text)) >= maxFile
		if full || !st.file.hour.Equal(it.at.UTC().Truncate(time.Hour)) || it.at.Sub(st.file.opened) >= maxAge {
			s.close(ctx, st)
		}
	}
	if st.file == nil {
		if bucket, _ := split(st.destination); !s.up.ready(ctx, bucket) {
			s.counts.dropped(causeDestination, 1)
			return
		}
		var err error
		if st.file, err = s.spool.create(st.place, it.at); err != nil {
			s.failed(ctx, err)
			s.counts.dropped(causeDisk, 1)
			return
		}
	}
	if it.line != nil {
		st.text = append(st.text, it.line.text...)
	} else {
		st.text, _ = appendLine(st.text, it.rec)
	}
	st.lines++
	if len(st.text) >= maxText {
		s.flush(ctx, st)
	}
}

// letGo gives back what a record kept.
func (s *Service) letGo(it *item) {
	if it.rec != nil {
		it.rec.release()
	}
	s.recycle(it.line)
}

// flush appends a stream's lines to its file. One that could not be written is
// closed: what it holds behind its last whole line is nobody's to add to.
func (s *Service) flush(ctx context.Context, st *stream) {
	if st.lines == 0 {
		return
	}
	lines, err := st.lines, s.spool.append(st.file, st.text, st.lines)
	st.text, st.lines = st.text[:0], 0
	if err != nil {
		s.failed(ctx, err)
		s.counts.dropped(causeDisk, lines)
		s.close(ctx, st)
		return
	}
	s.counts.lines.Add(float64(lines))
	if s.spool.bytes.Load() > s.SpoolBytes && s.stopped.Load() == nil {
		s.checkRoom(ctx)
	}
}

// close hands a stream's file to the uploader.
func (s *Service) close(ctx context.Context, st *stream) {
	s.flush(ctx, st)
	f := st.file
	if f == nil {
		return
	}
	st.file = nil
	if err := f.close(); err != nil {
		s.failed(ctx, err)
	}
	if f.lines == 0 { // none could be written
		if err := s.spool.remove(f); err != nil {
			s.failed(ctx, err)
		}
		return
	}
	s.up.add(f)
}

// tidy closes the files whose time is up, and forgets streams that have nothing.
func (s *Service) tidy(ctx context.Context, now time.Time) {
	for _, st := range s.all() {
		if f := st.file; f != nil && (now.Sub(f.opened) >= maxAge ||
			!f.hour.Equal(now.UTC().Truncate(time.Hour)) || !s.routed(st.place)) {
			s.close(ctx, st)
		}
		s.mu.Lock()
		dropped := 0
		if st.dropped > 0 && now.Sub(st.told) >= tellEvery {
			dropped, st.dropped, st.told = st.dropped, 0, now
		}
		if st.file == nil && st.held == 0 && st.dropped == 0 {
			delete(s.streams, st.place)
		}
		s.mu.Unlock()
		if dropped > 0 {
			s.Log.WarnContext(ctx, "requests were not captured: they came faster than they are written",
				"endpoint", st.key.Name, "region", st.key.Region, "variant", st.variant, "requests", dropped)
		}
	}
}

// routed reports whether requests are still captured there.
func (s *Service) routed(at place) bool {
	if s.Route == nil {
		return true
	}
	r, ok := s.Route(at.key)
	if !ok {
		return false
	}
	here := func(fleets []traffic.Fleet) bool {
		for i := range fleets {
			if c := fleets[i].Capture; c != nil && c.Destination == at.destination {
				return true
			}
		}
		return false
	}
	for i := range r.Variants {
		v := &r.Variants[i]
		if v.Name == at.variant && here(v.Fleets) {
			return true
		}
		for j := range v.Shadows {
			if v.Shadows[j].Name == at.variant && here(v.Shadows[j].Fleets) {
				return true
			}
		}
	}
	return false
}

// What keeps the service from capturing, in the words of the log and of nobody
// else.
const (
	whyDisk  = "the disk of the data directory is too full"
	whySpool = "too much waits to be put where it goes"
	whyBroke = "the data directory could not be written"
)

// checkRoom stops capturing when there is no room for it, and goes on when there
// is again.
func (s *Service) checkRoom(ctx context.Context) {
	was := s.stopped.Load()
	now := ""
	used, err := s.DiskUsed(s.Dir)
	limit := float64(s.StopAt)
	room := s.SpoolBytes
	if was != nil && *was == whyDisk {
		limit = float64(s.ResumeBelow)
	}
	if was != nil && *was == whySpool {
		room = room / 10 * 7
	}
	switch {
	case err != nil || time.Now().Before(s.spool.brokeUntil):
		now = whyBroke
	case s.StopAt < 100 && used >= limit:
		now = whyDisk
	case s.spool.bytes.Load() > room:
		now = whySpool
	}
	switch {
	case now == "" && was != nil:
		s.stopped.Store(nil)
		s.Log.InfoContext(ctx, "requests are captured again")
	case now != "" && (was == nil || *was != now):
		s.stopped.Store(&now)
		s.Log.ErrorContext(ctx, "no request is captured any more", "why", now, "spool", s.spool.bytes.Load(),
			"disk", fmt.Sprintf("%.1f %%", used), "err", err)
	}
}

// failed notes that the spool could not be written: nothing is captured for a
// while.
func (s *Service) failed(ctx context.Context, err error) {
	s.spool.brokeUntil = time.Now().Add(retry)
	if s.stopped.Load() == nil {
		why := whyBroke
		s.stopped.Store(&why)
		s.Log.ErrorContext(ctx, "no request is captured any more", "why", why, "err", err)
	}
}
