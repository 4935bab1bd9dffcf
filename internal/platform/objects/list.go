package objects

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List says which objects of a bucket to list.
type List struct {
	Prefix    string
	Delimiter string // keys that have it after the prefix are rolled up; "" for none
	After     string // keys up to this one are left out; of a rolled-up prefix, all that it holds
	Max       int    // objects and rolled-up prefixes; at most MaxList, which 0 means too
}

// MaxList is how many entries a page has at most.
const MaxList = 1000

// Page is one page of a listing, in the order of the keys' bytes.
type Page struct {
	Objects  []Info
	Prefixes []string // common prefixes, up to and with the delimiter
	Next     string   // After for the next page; "" on the last
}

// List lists objects. Its memory is bounded by the page, not by the bucket.
func (s *Store) List(ctx context.Context, bucket string, l List) (Page, error) {
	if _, err := s.HeadBucket(ctx, bucket); err != nil {
		return Page{}, err
	}
	if l.Max <= 0 || l.Max > MaxList {
		l.Max = MaxList
	}
	b := lister{List: l}
	w := walk{ctx: ctx, prefix: l.Prefix, visit: b.visit, batch: l.Max + 1}
	if l.After != "" {
		w.from = l.After + "\x00"
		if rest, ok := strings.CutPrefix(l.After, l.Prefix); ok && rolledUp(rest, l.Delimiter) {
			w.from = max(w.from, successor(l.After))
		}
	}
	if _, err := w.dir(s.objects(bucket), ""); err != nil && !missing(err) {
		return Page{}, storage(err)
	}
	return b.page, nil
}

// rolledUp reports whether rest, what follows the prefix in a page's last entry,
// makes that entry a common prefix: it ends with its first delimiter.
func rolledUp(rest, delimiter string) bool {
	_, more, found := strings.Cut(rest, delimiter)
	return found && more == "" && delimiter != ""
}

// All yields the objects of a bucket whose keys begin with prefix, in order.
func (s *Store) All(ctx context.Context, bucket, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for l := (List{Prefix: prefix}); ; {
			page, err := s.List(ctx, bucket, l)
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, o := range page.Objects {
				if !yield(o, nil) {
					return
				}
			}
			if l.After = page.Next; l.After == "" {
				return
			}
		}
	}
}

// lister fills a page with what a walk visits.
type lister struct {
	List
	page  Page
	count int
	last  string
}

func (b *lister) visit(key, path string) (from string, more bool, err error) {
	if b.count == b.Max {
		b.page.Next = b.last
		return "", false, nil
	}
	if b.Delimiter != "" {
		if i := strings.Index(key[len(b.Prefix):], b.Delimiter); i >= 0 {
			b.last = key[:len(b.Prefix)+i+len(b.Delimiter)]
			b.page.Prefixes = append(b.page.Prefixes, b.last)
			b.count++
			next := successor(b.last)
			return next, next != "", nil
		}
	}
	i, err := statInfo(path)
	if missing(err) {
		return key + "\x00", true, nil // deleted since
	}
	if err != nil {
		return "", false, err
	}
	i.Key, b.last = key, key
	b.page.Objects = append(b.page.Objects, i)
	b.count++
	return key + "\x00", true, nil
}

// successor returns the least string above all that begin with prefix; "" if
// there is none.
func successor(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 {
		if b[len(b)-1]++; b[len(b)-1] != 0 {
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return ""
}

// walk visits the keys that begin with prefix and are not below from, in
// order. visit answers where to go on, which may skip keys.
type walk struct {
	ctx    context.Context
	from   string
	prefix string
	batch  int // how many names of a directory are held at once
	visit  func(key, path string) (from string, more bool, err error)
}

// dir walks the directory at path, whose keys all begin with base.
func (w *walk) dir(path, base string) (more bool, err error) {
	for {
		entries, cut, err := w.read(path, base)
		if err != nil {
			if missing(err) && base != "" {
				return true, nil // deleted since
			}
			return false, err
		}
		for _, e := range entries {
			if !w.wanted(base, e) { // passed by since it was read
				continue
			}
			if err := w.ctx.Err(); err != nil {
				return false, err
			}
			var more bool
			if e.file {
				w.from, more, err = w.visit(base+e.text, filepath.Join(path, e.name))
			} else {
				more, err = w.dir(filepath.Join(path, e.name), base+e.text)
			}
			if err != nil || !more {
				return false, err
			}
		}
		if !cut {
			return true, nil
		}
		// The rest of a large directory: past all that the last entry holds.
		last := entries[len(entries)-1]
		w.from = max(w.from, base+last.text+"\x00")
		if !last.file {
			w.from = max(w.from, successor(base+last.text))
		}
	}
}

// wanted reports whether an entry is or may hold a key to visit.
func (w *walk) wanted(base string, e entry) bool {
	at := base + e.text
	if e.file {
		return at >= w.from && strings.HasPrefix(at, w.prefix)
	}
	return (at >= w.from || strings.HasPrefix(w.from, at)) &&
		(strings.HasPrefix(at, w.prefix) || strings.HasPrefix(w.prefix, at))
}

// read returns the first entries of a directory that are wanted, in order, at
// most batch of them; cut says that there are more.
func (w *walk) read(path, base string) (found []entry, cut bool, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = d.Close() }() // it is only read
	trim := func() {
		slices.SortFunc(found, func(a, b entry) int { return cmp.Compare(a.text, b.text) })
		if len(found) > w.batch {
			found, cut = found[:w.batch], true
		}
	}
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if e, ok := parseName(name); ok && w.wanted(base, e) {
				found = append(found, e)
			}
		}
		if len(found) > 4*w.batch+1024 {
			trim()
		}
		if errors.Is(err, io.EOF) || len(names) == 0 {
			trim()
			return found, cut, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}
