package capture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// spool is a directory of files that wait for their bucket. A file begins with
// a line that says where it goes, so that what a crash leaves needs nothing else.
type spool struct {
	dir   string
	bytes atomic.Int64 // in all files
	// brokeUntil is when the spool, which could not be written, is tried again. The
	// writer alone uses it.
	brokeUntil time.Time
}

// Header is the first line of a file of the spool.
type Header struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
}

const (
	suffix    = ".spool"
	maxHeader = 4096 // bytes
)

// file is a file of the spool.
type file struct {
	Header
	f      *os.File // nil: it is closed
	path   string
	begin  int64 // of the lines
	end    int64 // of the last whole line
	lines  int
	opened time.Time
	hour   time.Time
}

// split returns the bucket and the prefix of an s3 URI, without a slash at the
// prefix's ends.
func split(uri string) (bucket, prefix string) {
	_, rest, _ := strings.Cut(uri, "://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, strings.Trim(prefix, "/")
}

// keyOf returns the key of a file whose first line is of that time (spec §5.3).
func keyOf(at place, t time.Time) Header {
	bucket, prefix := split(at.destination)
	t = t.UTC()
	key := fmt.Sprintf("%s/%s/%s-%03d-%s.jsonl", at.key.Name, at.variant, t.Format("2006/01/02/15/04-05"),
		t.Nanosecond()/int(time.Millisecond), uuid.NewString())
	if prefix != "" {
		key = prefix + "/" + key
	}
	return Header{Bucket: bucket, Key: key}
}

// create begins a file.
func (sp *spool) create(at place, first time.Time) (*file, error) {
	h := keyOf(at, first)
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	if err := os.MkdirAll(sp.dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(sp.dir, uuid.NewString()+suffix)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(text); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	n := int64(len(text))
	sp.bytes.Add(n)
	return &file{
		Header: h, f: f, path: path, begin: n, end: n, opened: time.Now(), hour: first.UTC().Truncate(time.Hour),
	}, nil
}

// append appends whole lines. After an error the file ends with what was there
// before.
func (sp *spool) append(f *file, text []byte, lines int) error {
	if _, err := f.f.Write(text); err != nil {
		return errors.Join(err, f.f.Truncate(f.end))
	}
	f.end += int64(len(text))
	f.lines += lines
	sp.bytes.Add(int64(len(text)))
	return nil
}

// close ends the writing of a file.
func (f *file) close() error {
	err := f.f.Close()
	f.f = nil
	return err
}

// remove removes a file whose lines are where they were to go, or are given up.
func (sp *spool) remove(f *file) error {
	err := os.Remove(f.path)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		sp.bytes.Add(-f.end)
		return nil
	}
	return err
}

// left returns the files that an earlier server left behind, oldest first. Half
// a line at the end of one is left out. A file without a whole line is removed.
func (sp *spool) left() (files []*file, err error) {
	entries, err := os.ReadDir(sp.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		f, ferr := readFile(filepath.Join(sp.dir, e.Name()))
		switch {
		case ferr != nil:
			err = errors.Join(err, fmt.Errorf("%s: %w", e.Name(), ferr))
		case f == nil:
			err = errors.Join(err, os.Remove(filepath.Join(sp.dir, e.Name())))
		default:
			sp.bytes.Add(f.end)
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b *file) int { return a.opened.Compare(b.opened) })
	return files, err
}

// readFile finds out what is in a file; nil: no whole line.
func readFile(path string) (*file, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return nil, err
	}
	f := &file{path: path, opened: st.ModTime()}
	r := bufio.NewReaderSize(in, 64<<10)
	head, err := r.ReadSlice('\n')
	if err != nil || len(head) > maxHeader || json.Unmarshal(head, &f.Header) != nil || f.Bucket == "" || f.Key == "" {
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
			return nil, nil // it was being made when the server ended
		}
		return nil, err
	}
	f.begin = int64(len(head))
	f.end = f.begin
	buf := make([]byte, 64<<10)
	for at := f.begin; ; {
		n, err := r.Read(buf)
		if last := bytes.LastIndexByte(buf[:n], '\n'); last >= 0 {
			f.lines += bytes.Count(buf[:n], []byte{'\n'})
			f.end = at + int64(last) + 1
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if f.lines == 0 {
		return nil, nil
	}
	return f, nil
}

// open returns the lines for reading.
func (f *file) open() (io.Reader, io.Closer, error) {
	in, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	return io.NewSectionReader(in, f.begin, f.end-f.begin), in, nil
}

// diskUsed returns how much of the disk of dir, or of the nearest directory
// above it that exists, is in use, in per cent as df says it.
func diskUsed(dir string) (float64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.ENOENT) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return 0, err
	}
	used := float64(st.Blocks - st.Bfree)
	if used+float64(st.Bavail) == 0 {
		return 0, nil
	}
	return 100 * used / (used + float64(st.Bavail)), nil
}
