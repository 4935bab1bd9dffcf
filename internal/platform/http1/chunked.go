package http1

import "bytes"

// Bounds of what a peer may wrap around the data of a chunked body. Chunk
// extensions and trailers are read over; without a bound they are a way to
// make a peer work for ever.
const (
	maxChunkLine = 256      // one size line with its extensions
	maxOverhead  = 16 << 10 // extensions and trailers of a body, beyond an allowance per chunk
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd // the CRLF after the data
	chunkTrailer
	chunkDone
)

// chunked decodes a chunked body piece by piece. It does no I/O: it is given
// what has arrived and says what it used.
type chunked struct {
	state    chunkState
	left     int64 // data bytes left in the chunk
	overhead int
}

// next consumes from p. It returns the bytes used and the data among them (a
// slice of p, perhaps empty). used 0 without an error means that more bytes
// are needed; after the last one state is chunkDone.
func (d *chunked) next(p []byte) (used int, data []byte, err error) {
	for d.state != chunkDone {
		rest := p[used:]
		switch d.state {
		case chunkData:
			n := int(min(int64(len(rest)), d.left))
			if d.left -= int64(n); d.left == 0 {
				d.state = chunkEnd
			}
			return used + n, rest[:n], nil
		case chunkEnd:
			if len(rest) < 2 {
				return used, nil, nil
			}
			if rest[0] != '\r' || rest[1] != '\n' {
				return used, nil, refuse(400, "chunk longer than its size")
			}
			used += 2
			d.state = chunkSize
		case chunkSize, chunkTrailer, chunkDone:
			n, err := d.line(rest)
			if err != nil || n == 0 {
				return used, nil, err
			}
			used += n
		}
	}
	return used, nil, nil
}

// line takes a size line or a trailer line.
func (d *chunked) line(p []byte) (int, error) {
	end := bytes.IndexByte(p[:min(len(p), maxChunkLine)], '\n')
	switch {
	case end < 0 && len(p) >= maxChunkLine:
		return 0, refuse(400, "chunk line too long")
	case end < 0:
		return 0, nil
	case end == 0 || p[end-1] != '\r':
		return 0, refuse(400, "chunk line without CRLF")
	}
	line := p[:end-1]
	if d.overhead += len(line); d.overhead > maxOverhead {
		return 0, refuse(400, "too much around the chunks")
	}
	if d.state == chunkTrailer {
		if len(line) == 0 {
			d.state = chunkDone
		} else if !goodTrailer(line) {
			return 0, refuse(400, "malformed trailer")
		}
		return end + 1, nil
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return 0, refuse(400, "malformed chunk size")
	}
	// A chunk that carries data pays for a plain size line.
	d.overhead = max(0, d.overhead-int(min(size, 16)))
	d.left, d.state = size, chunkData
	if size == 0 {
		d.state = chunkTrailer
	}
	return end + 1, nil
}

// goodTrailer checks a trailer field; trailers are dropped, since nobody here
// has a use for them.
func goodTrailer(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	return colon > 0 && allToken(string(line[:colon])) && cleanValue(string(line[colon+1:]))
}

func parseChunkSize(line []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(line); i++ {
		b := line[i]
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			b = 0xff
		}
		if b == 0xff {
			break
		}
		if i == 15 { // 60 bits
			return 0, false
		}
		n = n<<4 | int64(b)
	}
	if i == 0 {
		return 0, false
	}
	rest := bytes.TrimLeft(line[i:], " \t")
	return n, len(rest) == 0 || rest[0] == ';' && cleanValue(string(rest))
}
