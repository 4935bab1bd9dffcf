package packaging

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// fetch unpacks an archive and keeps its directory until done is called. What
// is wrong with the archive fails the job.
func (s *Service) fetch(ctx context.Context, uri string) (a artifact.Model, done func(), err error) {
	a, err = s.cfg.Fetch(ctx, hosting.ModelData{URI: uri, Layout: hosting.Archive})
	switch {
	case err == nil:
	case errors.Is(err, fault.NotFound):
		bucket, key, _ := packaging.SplitS3(uri)
		err = fail(packaging.Reason("S3 object does not exist. Bucket: %s, Key: %s", bucket, key))
	case errors.Is(err, fault.Invalid):
		_, text := fault.Public(err)
		err = fail(packaging.Reason("Unable to untar input model.Please confirm the model is a tar.gz file. %s", text))
	}
	if err != nil {
		return a, func() {}, err
	}
	s.use(a.Dir, 1)
	return a, func() { s.use(a.Dir, -1) }, nil
}

// paths lists the files of a directory, with slashes.
func paths(dir string) (files []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	return files, err
}

// item is a file on its way into a flat archive; content if it is in memory.
type item struct {
	name    string
	path    string
	content []byte
}

// flat gives files of dir their names in a flat archive.
func flat(dir string, files []string) (items []item, err error) {
	seen := map[string]string{}
	for _, f := range files {
		name := path.Base(f)
		if err := bundle.CheckName(name); err != nil {
			return nil, fail(packaging.Reason("The file %q can't be packaged: %s", f, err.Error()))
		}
		if strings.HasPrefix(strings.ToLower(name), bundle.ManifestName) {
			return nil, fail(packaging.Reason("The file %q has a name that is kept for the package itself.", f))
		}
		if other, twice := seen[strings.ToLower(name)]; twice {
			return nil, fail(packaging.Reason(
				"The files %q and %q would have the same name in the package, which has no folders.", other, f,
			))
		}
		seen[strings.ToLower(name)] = f
		items = append(items, item{name: name, path: filepath.Join(dir, filepath.FromSlash(f))})
	}
	return items, nil
}

func (i item) open() (io.ReadCloser, int64, error) {
	if i.path == "" {
		return io.NopCloser(bytes.NewReader(i.content)), int64(len(i.content)), nil
	}
	f, err := os.Open(i.path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// source lends an item to package bundle.
func (i item) source() (bundle.Source, error) {
	r, size, err := i.open()
	if err != nil {
		return bundle.Source{}, err
	}
	return bundle.Source{Name: i.name, Size: size, Open: func() (io.ReadCloser, error) {
		r, _, err := i.open()
		return r, err
	}}, r.Close()
}

// writeTar writes a deterministic tar.gz.
func writeTar(ctx context.Context, w io.Writer, items []item) error {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.name, b.name) })
	gz, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(gz)
	for _, i := range items {
		if err := writeEntry(ctx, tw, i); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), gz.Close())
}

func writeEntry(ctx context.Context, tw *tar.Writer, i item) error {
	r, size, err := i.open()
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if err := tw.WriteHeader(
		&tar.Header{Name: i.name, Size: size, Mode: 0o444, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR},
	); err != nil {
		return err
	}
	_, err = io.Copy(tw, untrusted.NewReader(ctx, r))
	return err
}

func digestFile(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, untrusted.NewReader(ctx, f)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
