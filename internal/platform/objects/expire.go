package objects

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// RemoveUploads removes the multipart uploads that were begun before a time and
// are not completed, with their parts, and returns how many there were. What
// cannot be removed does not keep it from the others.
func (s *Store) RemoveUploads(ctx context.Context, before time.Time) (n int, err error) {
	buckets, err := s.Buckets(ctx)
	if err != nil {
		return 0, err
	}
	for _, b := range buckets {
		entries, readErr := os.ReadDir(s.uploads(b.Name))
		if readErr != nil && !missing(readErr) {
			err = errors.Join(err, storage(readErr))
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return n, errors.Join(err, ctx.Err())
			}
			if !s.begunBefore(b.Name, e, before) {
				continue
			}
			if dropErr := s.dropUpload(b.Name, e.Name()); dropErr != nil {
				err = errors.Join(err, dropErr)
				continue
			}
			n++
		}
	}
	return n, err
}

// begunBefore reports whether an upload was begun before a time. One whose record
// cannot be read is as old as its directory.
func (s *Store) begunBefore(bucket string, e os.DirEntry, before time.Time) bool {
	text, err := os.ReadFile(filepath.Join(s.upload(bucket, e.Name()), "upload.json"))
	var u Upload
	if err == nil {
		err = json.Unmarshal(text, &u)
	}
	if err == nil && !u.Begun.IsZero() {
		return u.Begun.Before(before)
	}
	info, err := e.Info()
	return err == nil && info.ModTime().Before(before)
}
