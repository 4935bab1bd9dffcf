package capture

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// uploader puts closed files into their buckets, one after the other.
type uploader struct {
	s    *Service
	wake chan struct{}

	mu      sync.Mutex // guards what follows; not held while anything is put
	files   []*file
	buckets map[string]*trouble // that could not be used when last tried
}

// trouble is what is wrong with a bucket.
type trouble struct {
	why    string
	absent bool // it is not there
	since  time.Time
	until  time.Time // it is left alone
}

func newUploader(s *Service) *uploader {
	return &uploader{s: s, wake: make(chan struct{}, 1), buckets: map[string]*trouble{}}
}

func (u *uploader) add(f *file) {
	u.mu.Lock()
	u.files = append(u.files, f)
	u.mu.Unlock()
	u.rouse()
}

func (u *uploader) rouse() {
	select {
	case u.wake <- struct{}{}:
	default: // it is awake
	}
}

// run puts files until ctx ends.
func (u *uploader) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for f := u.next(time.Now()); f != nil && ctx.Err() == nil; f = u.next(time.Now()) {
			u.put(ctx, f)
		}
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		case <-tick.C:
		}
	}
}

// flush tries every file once, while ctx lasts.
func (u *uploader) flush(ctx context.Context) {
	u.mu.Lock()
	files := append([]*file(nil), u.files...)
	u.mu.Unlock()
	for _, f := range files {
		if ctx.Err() != nil {
			return
		}
		u.put(ctx, f)
	}
}

// next returns the oldest file whose bucket is not left alone, or nil.
func (u *uploader) next(now time.Time) *file {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.files {
		if t := u.buckets[f.Bucket]; t == nil || !now.Before(t.until) {
			return f
		}
	}
	return nil
}

// put puts one file, and removes it if it is there.
func (u *uploader) put(ctx context.Context, f *file) {
	err := u.try(ctx, f)
	if ctx.Err() != nil && err != nil {
		return // it goes on after the next start
	}
	if err != nil {
		u.troubled(ctx, f.Bucket, err)
		if errors.Is(err, objects.ErrNoBucket) && time.Since(f.opened) > lifetime {
			u.s.counts.dropped(causeExpired, f.lines)
			u.s.Log.ErrorContext(ctx, "captured requests are given up: their bucket was missing for too long",
				"bucket", f.Bucket, "key", f.Key, "requests", f.lines)
			u.forget(ctx, f)
		}
		return
	}
	u.s.counts.files.Inc()
	u.forget(ctx, f)
	u.well(ctx, f.Bucket)
}

func (u *uploader) try(ctx context.Context, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	how := objects.Put{
		Header: map[string]string{"content-type": "application/jsonlines"},
		// Nothing that is there is ever replaced. The key is this file's alone: an
		// object there is it, put before a crash.
		If: objects.Condition{Absent: true},
	}
	_, err := u.s.Objects.Adopt(ctx, f.Bucket, f.Key, objects.File{Path: f.path, Size: f.end}, how)
	if errors.Is(err, syscall.EXDEV) { // the objects have a disk of their own
		err = u.copy(ctx, f, how)
	}
	if errors.Is(err, objects.ErrChanged) || errors.Is(err, os.ErrNotExist) { // somebody took it away
		return nil
	}
	return err
}

func (u *uploader) copy(ctx context.Context, f *file, how objects.Put) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	_, err = u.s.Objects.Put(ctx, f.Bucket, f.Key, bounded{ctx, io.NewSectionReader(in, 0, f.end)}, how)
	return errors.Join(err, in.Close())
}

// bounded ends reading when its context ends.
type bounded struct {
	ctx context.Context
	r   io.Reader
}

func (b bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

// forget takes a file out of the spool.
func (u *uploader) forget(ctx context.Context, f *file) {
	if err := u.s.spool.remove(f); err != nil {
		u.s.Log.ErrorContext(ctx, "a file of captured requests could not be removed", "path", f.path, "err", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.files {
		if u.files[i] == f {
			u.files = append(u.files[:i:i], u.files[i+1:]...)
			return
		}
	}
}

// troubled notes that a bucket cannot be used. The log hears of it once.
func (u *uploader) troubled(ctx context.Context, bucket string, err error) {
	why, now := "objects cannot be put into the bucket "+bucket, time.Now()
	absent := errors.Is(err, objects.ErrNoBucket)
	if absent {
		why = "there is no bucket " + bucket
	}
	u.mu.Lock()
	t := u.buckets[bucket]
	if t == nil {
		t = &trouble{since: now}
		u.buckets[bucket] = t
	}
	told := t.why
	t.why, t.absent, t.until = why, absent, now.Add(retry)
	if absent { // looking for it costs little, and it may be made at any moment
		t.until = now.Add(min(retry, max(time.Second, now.Sub(t.since)/10)))
	}
	u.mu.Unlock()
	if told != why {
		u.s.Log.ErrorContext(ctx, "requests are not captured: their bucket cannot be used", "bucket", bucket,
			"why", why, "err", err)
	}
}

// well notes that a bucket can be used.
func (u *uploader) well(ctx context.Context, bucket string) {
	u.mu.Lock()
	t := u.buckets[bucket]
	delete(u.buckets, bucket)
	u.mu.Unlock()
	if t != nil {
		u.s.Log.InfoContext(ctx, "requests are captured again", "bucket", bucket)
	}
}

// ready reports whether a file for the bucket may be begun. One in trouble is
// looked at again after a while; as long as files wait that could not be put, it
// is they that have to go first.
func (u *uploader) ready(ctx context.Context, bucket string) bool {
	u.mu.Lock()
	t := u.buckets[bucket]
	wait := t != nil && (time.Now().Before(t.until) || u.waiting(bucket))
	u.mu.Unlock()
	if wait {
		return false
	}
	if _, err := u.s.Objects.HeadBucket(ctx, bucket); err != nil {
		u.troubled(ctx, bucket, err)
		return false
	}
	if t != nil {
		u.well(ctx, bucket)
	}
	return true
}

// waiting reports whether files wait for the bucket. u.mu is held.
func (u *uploader) waiting(bucket string) bool {
	for _, f := range u.files {
		if f.Bucket == bucket {
			return true
		}
	}
	return false
}

// check returns why nothing goes to the bucket, "" if it does. Somebody looks, so
// that a bucket that was missing is looked for at once.
func (u *uploader) check(ctx context.Context, bucket string) string {
	u.mu.Lock()
	if t := u.buckets[bucket]; t != nil && t.absent {
		t.until = time.Time{}
	}
	u.mu.Unlock()
	u.rouse()
	if u.ready(ctx, bucket) {
		return ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := u.buckets[bucket]; t != nil {
		return t.why
	}
	return ""
}
