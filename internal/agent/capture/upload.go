package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/google/uuid"
)

// put uploads the files of a batch and then its manifest.
func (p *Pipeline) put(ctx context.Context, folder string, w *writer) error {
	for _, f := range append(w.files, aside{uuid.NewString() + manifestEnds, w.lines.Bytes()}) {
		if err := p.putOne(ctx, path.Join(folder, f.name), bytes.NewReader(f.data), int64(len(f.data))); err != nil {
			return err
		}
	}
	return nil
}

// putOne uploads one object.
func (p *Pipeline) putOne(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PutTimeout)
	defer cancel()
	if err := p.cloud.Put(ctx, key, body, size); err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	return nil
}

// uploads brings what lies on the disk to the cloud, every UploadPeriod, until
// ctx ends; an upload in hand goes on until work ends.
func (p *Pipeline) uploads(ctx, work context.Context) {
	every := time.NewTicker(p.cfg.UploadPeriod)
	defer every.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if !p.cloud.Online() {
			continue
		}
		err := p.uploadAll(ctx, work)
		if err != nil && !failing && ctx.Err() == nil {
			p.log.Warn("captured events could not be uploaded; they stay on the disk", "err", err)
		}
		failing = err != nil
	}
}

// uploadAll uploads manifest by manifest, the oldest hour first, and stops at
// the first failure: without a network all others would fail too.
func (p *Pipeline) uploadAll(ctx, work context.Context) error {
	folders, err := p.disk.folders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		entries, err := p.disk.list(folder)
		if err != nil {
			return err
		}
		for _, e := range oldestFirst(entries) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := p.uploadManifest(work, folder, e.Name()); err != nil {
				return err
			}
		}
		p.disk.prune(folder)
	}
	return nil
}

func (p *Pipeline) uploadManifest(ctx context.Context, folder, name string) error {
	body, err := p.disk.root.ReadFile(path.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // made room meanwhile
	}
	if err != nil {
		return err
	}
	names := references(body)
	for _, n := range names {
		if err := p.uploadFile(ctx, folder, n); err != nil {
			return err
		}
	}
	here := append([]byte(nil), referenceMark...)
	here = append(here, p.disk.reference(folder, "")[len("file://"):]...)
	there := []byte(`"data-ref":"s3://` + p.cfg.Bucket + "/" + folder)
	moved := bytes.ReplaceAll(body, here, there)
	if err := p.putOne(ctx, path.Join(folder, name), bytes.NewReader(moved), int64(len(moved))); err != nil {
		return err
	}
	if p.disk.removeEvents(folder, name, names) {
		p.uploaded.Add(int64(bytes.Count(body, []byte("\n"))))
	}
	return nil
}

func (p *Pipeline) uploadFile(ctx context.Context, folder, name string) error {
	f, err := p.disk.root.Open(path.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the manifest goes all the same
	}
	if err != nil {
		return err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return p.putOne(ctx, path.Join(folder, name), f, info.Size())
}
