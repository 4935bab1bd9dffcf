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

// spool is a directory of files of lines that wait for their bucket. Beside each
// is another that says where it goes, so that what a crash leaves needs nothing
// else. Lines have a file of their own because that becomes the object.
type spool struct {
	dir   string
	open  func(path string) (output, error)
	bytes atomic.Int64 // of all lines
	// brokeUntil is when the spool, which could not be written, is tried again. The
	// writer alone uses it.
	brokeUntil time.Time
}

// output is where lines are written: a new file. (A test has one that breaks
// half-way.)
type output interface {
	io.WriteCloser
	Truncate(size int64) error
}

func openFile(path string) (output, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Header says where a file of lines goes.
type Header struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
}

const (
	linesSuffix  = ".jsonl"
	headerSuffix = ".json"
)

// file is a file of lines.
type file struct {
	Header
	f      output // nil: it is closed
	path   string
	end    int64 // of the last whole line
	lines  int
	opened time.Time
	hour   time.Time
}

// header is the path of the file that says where f goes.
func (f *file) header() string { return strings.TrimSuffix(f.path, linesSuffix) + headerSuffix }

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
	if err := os.MkdirAll(sp.dir, 0o700); err != nil {
		return nil, err
	}
	f := &file{
		Header: h, path: filepath.Join(sp.dir, uuid.NewString()+linesSuffix), opened: time.Now(),
		hour: first.UTC().Truncate(time.Hour),
	}
	if err := os.WriteFile(f.header(), text, 0o600); err != nil {
		return nil, errors.Join(err, ignoreMissing(os.Remove(f.header())))
	}
	if f.f, err = sp.open(f.path); err != nil {
		return nil, errors.Join(err, os.Remove(f.header()))
	}
	return f, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// append appends whole lines. After an error half a line may stand behind f.end,
// if not even that could be undone: nothing more may be appended.
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

// remove removes a file whose lines are where they were to go, or are given up:
// what says where they go last.
func (sp *spool) remove(f *file) error {
	if err := ignoreMissing(os.Remove(f.path)); err != nil {
		return err
	}
	sp.bytes.Add(-f.end)
	return ignoreMissing(os.Remove(f.header()))
}

// left returns the files that an earlier server left behind, oldest first. Half
// a line at the end of one is left out. A file without a whole line is removed.
func (sp *spool) left() (files []*file, err error) {
	entries, err := os.ReadDir(sp.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, found := strings.CutSuffix(e.Name(), headerSuffix)
		if !found || !e.Type().IsRegular() {
			continue
		}
		f, ferr := readFile(filepath.Join(sp.dir, name+linesSuffix))
		switch {
		case ferr != nil:
			err = errors.Join(err, fmt.Errorf("%s: %w", e.Name(), ferr))
		case f.lines == 0:
			err = errors.Join(err, sp.remove(f))
		default:
			sp.bytes.Add(f.end)
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b *file) int { return a.opened.Compare(b.opened) })
	return files, err
}

// readFile finds out what is in a file and where it goes.
func readFile(path string) (*file, error) {
	f := &file{path: path}
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil // it is where it was to go, or was never begun
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return nil, err
	}
	f.opened = st.ModTime()
	text, err := os.ReadFile(f.header())
	if err == nil {
		err = json.Unmarshal(text, &f.Header)
	}
	if err == nil && (f.Bucket == "" || f.Key == "") {
		err = errors.New("it does not say where the lines go")
	}
	if err != nil {
		return nil, err
	}
	return f, f.count(in)
}

// count finds the whole lines. An object store that was about to take the file when
// the server ended may have written something behind them.
func (f *file) count(in io.Reader) error {
	begin, end := []byte(lineBegin), []byte(lineEnd)
	r := bufio.NewReaderSize(in, 64<<10)
	head, tail := make([]byte, 0, len(begin)), make([]byte, 0, 2*len(end))
	n := int64(0) // of the line
	for {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		head = append(head, part[:min(len(part), cap(head)-len(head))]...)
		if len(part) >= len(end) {
			tail = append(tail[:0], part[len(part)-len(end):]...)
		} else {
			tail = append(tail, part...)
			tail = append(tail[:0], tail[max(0, len(tail)-len(end)):]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !bytes.Equal(head, begin) || !bytes.Equal(tail, end):
			return nil
		}
		f.end += n
		f.lines++
		n, head, tail = 0, head[:0], tail[:0]
	}
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
