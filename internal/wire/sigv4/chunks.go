package sigv4

import (
	"bufio"
	"bytes"
	"errors"
	"hash"
	"io"
	"strings"
)

// Bounds on what stands around the data of an aws-chunked body, in bytes.
const (
	maxChunkLine    = 256
	maxTrailerLine  = 1 << 10
	maxTrailerLines = 8
)

// chunkReader decodes an aws-chunked body:
//
//	<hex length>[;chunk-signature=<64 hex>]\r\n<data>\r\n … 0[;…]\r\n[<trailers>]\r\n
//
// With a chain it verifies each chunk's signature when the chunk ends, so data
// is handed on before it is vouched for, but never the end of it.
type chunkReader struct {
	br       *bufio.Reader
	chain    *chunkChain // nil when chunks are not signed
	trailer  bool
	trailers map[string]string // once the last chunk was read; names in lower case
	room     int64             // how much data may still come, in bytes

	inside bool      // a chunk
	left   int64     // of it, in bytes
	sum    hash.Hash // over it
	want   string    // its signature
	done   bool
}

func (c *chunkReader) Read(b []byte) (int, error) {
	for !c.done {
		if !c.inside {
			if err := c.next(); err != nil {
				return 0, err
			}
			continue
		}
		if c.left == 0 {
			if err := c.end(); err != nil {
				return 0, err
			}
			continue
		}
		if len(b) == 0 {
			return 0, nil
		}
		n, err := c.br.Read(b[:min(int64(len(b)), c.left)])
		c.left -= int64(n)
		if c.chain != nil {
			_, _ = c.sum.Write(b[:n]) // a hash never fails
		}
		if n > 0 {
			return n, nil // an error comes again
		}
		if err != nil {
			return 0, cutShort(err)
		}
	}
	return 0, io.EOF
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShort()
	}
	return err
}

// next reads the line before a chunk's data.
func (c *chunkReader) next() error {
	line, err := c.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, ext, hasExt := strings.Cut(line, ";")
	if c.chain != nil {
		sig, ok := strings.CutPrefix(ext, "chunk-signature=")
		if !ok || !isHexHash(sig) {
			return errChunk("A chunk has no valid chunk-signature.")
		}
		c.want = sig
		c.sum.Reset()
	} else if hasExt {
		return errChunk("A chunk has an extension that is not expected.")
	}
	n, ok := chunkSize(size)
	if !ok || n > c.room {
		return errChunk("A chunk's length is not valid or exceeds x-amz-decoded-content-length.")
	}
	c.inside, c.left = true, n
	c.room -= n
	if n == 0 {
		c.done = true
		return c.last()
	}
	return nil
}

// end checks what stands after a chunk's data.
func (c *chunkReader) end() error {
	var crlf [2]byte
	if _, err := io.ReadFull(c.br, crlf[:]); err != nil {
		return cutShort(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return errChunk("A chunk does not end where its length says.")
	}
	c.inside = false
	return c.checkChunk()
}

func (c *chunkReader) checkChunk() error {
	if c.chain == nil || equal(c.chain.next(c.sum.Sum(nil)), c.want) {
		return nil
	}
	return fail(reasonSignature, "").In(StyleS3)
}

// last checks the empty chunk and reads what follows it.
func (c *chunkReader) last() error {
	if err := c.checkChunk(); err != nil {
		return err
	}
	c.trailers = map[string]string{}
	var signature string
	var text strings.Builder // as the trailer's signature covers it
	for range maxTrailerLines {
		line, err := c.line(maxTrailerLine)
		if e, ok := errors.AsType[*Error](err); ok && e.reason == reasonIncomplete && line == "" &&
			len(c.trailers) == 0 && !c.trailer {
			return nil // some clients leave out the empty line at the end
		}
		if err != nil {
			return err
		}
		if line = strings.TrimSpace(line); line == "" {
			return c.finish(signature, text.String())
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if _, twice := c.trailers[name]; !ok || twice || !c.trailer || signature != "" {
			return fail(reasonMalformedTrailer, "").In(StyleS3)
		}
		if name == "x-amz-trailer-signature" {
			signature = value
			continue
		}
		c.trailers[name] = value
		text.WriteString(name + ":" + value + "\n")
	}
	return fail(reasonMalformedTrailer, "").In(StyleS3)
}

func (c *chunkReader) finish(signature, text string) error {
	if c.chain != nil && c.trailer && !equal(c.chain.trailer(text), signature) {
		return fail(reasonSignature, "").In(StyleS3)
	}
	if _, err := c.br.ReadByte(); err == nil {
		return errChunk("Something follows the last chunk.")
	} else if !errors.Is(err, io.EOF) {
		return cutShort(err)
	}
	return nil
}

// line reads up to "\r\n", which it leaves out.
func (c *chunkReader) line(limit int) (string, error) {
	raw, err := c.br.ReadSlice('\n') // limited by the reader's buffer
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", errChunk("A line between chunks is too long.")
		}
		return string(raw), cutShort(err)
	}
	raw, ok := bytes.CutSuffix(raw, []byte("\r\n"))
	if !ok && c.done { // of trailers there is a form with a bare newline
		raw, ok = bytes.TrimSuffix(raw, []byte("\n")), true
	}
	if !ok || len(raw) > limit {
		return "", errChunk("A line between chunks is not valid.")
	}
	return string(raw), nil
}

// chunkSize reads a chunk's length in hex.
func chunkSize(s string) (n int64, ok bool) {
	if s == "" || len(s) > 15 {
		return 0, false
	}
	for i := range len(s) {
		d := fromHex(s[i])
		if d > 15 {
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	return n, true
}

func errChunk(detail string) *Error { return fail(reasonIncomplete, detail).In(StyleS3) }
