// Package eventstream writes the frames of application/vnd.amazon.eventstream
// (spec §6.5). Reading them, and when to write which, is not its job.
package eventstream

import (
	"encoding/binary"
	"hash/crc32"
)

// ContentType is the media type of a stream of frames.
const ContentType = "application/vnd.amazon.eventstream"

// Header is a frame header with a string value. A name is at most 255 bytes
// long, a value at most 65535; longer ones are cut.
type Header struct{ Name, Value string }

const (
	prelude    = 12 // total length, headers' length, their checksum
	typeString = 7
)

// Append appends a frame to b.
func Append(b []byte, headers []Header, payload []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, prelude)...)
	for _, h := range headers {
		name, value := h.Name[:min(len(h.Name), 255)], h.Value[:min(len(h.Value), 65535)]
		b = append(b, byte(len(name)))
		b = append(b, name...)
		b = append(b, typeString)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	headersEnd := len(b)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start+4))
	binary.BigEndian.PutUint32(b[start+4:], uint32(headersEnd-start-prelude))
	binary.BigEndian.PutUint32(b[start+8:], crc32.ChecksumIEEE(b[start:start+8]))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// AppendEvent appends an event whose payload is bytes as they are.
func AppendEvent(b []byte, event string, payload []byte) []byte {
	h := [...]Header{{":event-type", event}, {":content-type", "application/octet-stream"}, {":message-type", "event"}}
	return Append(b, h[:], payload)
}

// AppendException appends an exception, which ends a stream; payload is JSON.
func AppendException(b []byte, exception string, payload []byte) []byte {
	h := [...]Header{
		{":exception-type", exception}, {":content-type", "application/json"}, {":message-type", "exception"},
	}
	return Append(b, h[:], payload)
}
