// Package untrusted reads what others made: slowly if need be, but never past
// the end of a context, and so that an archive that is wrong can be told from a
// source that failed. What an archive may hold is its reader's to say.
package untrusted

import (
	"context"
	"errors"
	"io"
)

// Reader reads a source under a context, counts its bytes, and remembers how it
// failed.
type Reader struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error
}

// NewReader returns a Reader of r that fails when ctx has ended.
func NewReader(ctx context.Context, r io.Reader) *Reader { return &Reader{ctx: ctx, r: r} }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		r.err = err
		return 0, err
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Count returns how many bytes were read.
func (r *Reader) Count() int64 { return r.n }

// Err returns how the source failed; its end is no failure.
func (r *Reader) Err() error { return r.err }

// Copy copies through buf, which io.CopyBuffer would not use for every writer.
func Copy(to io.Writer, from io.Reader, buf []byte) (int64, error) {
	return io.CopyBuffer(onlyWriter{to}, from, buf)
}

// onlyWriter hides ReadFrom.
type onlyWriter struct{ io.Writer }

// AllZero reports whether p, such as the padding in an archive, holds nothing.
func AllZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
