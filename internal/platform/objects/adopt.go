package objects

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
)

// File is a file of somebody else's that is to become an object.
type File struct {
	Path string
	Size int64 // bytes of it that are data; what is behind them is cut off
}

// Adopt makes a file an object, as Put does a body, without copying it: the file
// becomes the store's own. It has to lie on the same file system; one that does not
// is a syscall.EXDEV. After an error it is as it was. A crash may leave behind its
// data what the store writes there.
//
// Its ETag is no MD5 of the data, which nobody has to read for it: as on S3 one with
// a dash is not taken for that.
func (s *Store) Adopt(ctx context.Context, bucket, key string, file File, p Put) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return Info{}, err
	}
	f, err := os.OpenFile(file.Path, os.O_RDWR, 0)
	if err != nil {
		return Info{}, storage(err)
	}
	var tag [16]byte
	_, _ = rand.Read(tag[:]) // never fails (crypto/rand)
	i := Info{
		Key: key, Size: file.Size, ETag: hex.EncodeToString(tag[:]) + "-1", Modified: now(), Header: p.Header,
		Tags: p.Tags,
	}
	d := &draft{f: f, size: file.Size}
	err = f.Truncate(file.Size)
	if err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		err = d.seal(i)
	}
	if err == nil {
		err = s.commit(d, bucket, key, p.If)
	}
	if d.done || err == nil {
		return i, err
	}
	_ = f.Close() // it is closed already if it could be sealed
	return Info{}, storage(errors.Join(err, os.Truncate(file.Path, file.Size)))
}
