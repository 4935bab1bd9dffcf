package bundle

import (
	"bytes"
	"compress/flate"
	"io"
)

const (
	chunk = 256 << 10
	// worth: a chunk is compressed if that saves an eighth of it. Most weights
	// hardly compress, and a small device inflates ten times slower than it
	// copies.
	worthOf = 8
)

// deflater writes a deflate stream chunk by chunk: compressed where that is
// worth it, stored elsewhere.
type deflater struct {
	w     io.Writer
	buf   []byte
	fast  *flate.Writer
	small bytes.Buffer
	// stored tells of each chunk what was decided, so that a second pass need
	// not try again; next is the number of the chunk in hand.
	stored []bool
	next   int
}

func newDeflater(w io.Writer, decided []bool) (*deflater, error) {
	fast, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	return &deflater{w: w, buf: make([]byte, 0, chunk), fast: fast, stored: decided}, nil
}

func (d *deflater) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), chunk-len(d.buf))
		d.buf = append(d.buf, p[:n]...)
		p = p[n:]
		if len(d.buf) == chunk {
			if err := d.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

func (d *deflater) flush() error {
	defer func() { d.buf, d.next = d.buf[:0], d.next+1 }()
	if d.next < len(d.stored) && d.stored[d.next] {
		return writeStored(d.w, d.buf)
	}
	d.small.Reset()
	d.fast.Reset(&d.small)
	if _, err := d.fast.Write(d.buf); err != nil {
		return err
	}
	if err := d.fast.Flush(); err != nil { // to a byte's edge, so that a stored block can follow
		return err
	}
	stored := d.small.Len() > len(d.buf)-len(d.buf)/worthOf
	if d.next == len(d.stored) {
		d.stored = append(d.stored, stored)
	}
	if stored {
		return writeStored(d.w, d.buf)
	}
	_, err := d.w.Write(d.small.Bytes())
	return err
}

// Close ends the stream, not the writer under it.
func (d *deflater) Close() error {
	if len(d.buf) > 0 {
		if err := d.flush(); err != nil {
			return err
		}
	}
	_, err := d.w.Write([]byte{1, 0, 0, 0xff, 0xff}) // the last block, stored and empty
	return err
}

// writeStored writes b as stored blocks of deflate.
func writeStored(w io.Writer, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxStored)
		if _, err := w.Write(storedHeader(n)); err != nil {
			return err
		}
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func storedHeader(n int) []byte {
	return []byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
}
