package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"

	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// Check verifies an unpacked directory as Unpack verifies a package: the
// signature, the manifest, every digest, and no file more or less. What is
// wrong with it is an *Error; other errors are those of dir or of ctx.
func (v *Verifier) Check(ctx context.Context, dir fs.FS) (Manifest, error) {
	l := v.Limits.withDefaults()
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return Manifest{}, fmt.Errorf("list package: %w", err)
	}
	present := make(map[string]bool, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return Manifest{}, refuse("The model's directory has %q, which is not a file.", brief(e.Name()))
		}
		present[e.Name()] = true
	}
	var h headFiles
	for _, f := range []struct {
		name  string
		limit int64
		to    *[]byte
	}{{ManifestName, l.Manifest, &h.manifest}, {SignatureName, sigSize, &h.sig}, {ChainName, l.Chain, &h.chain}} {
		if !present[f.name] {
			return Manifest{}, refuse("The model's directory has no %s.", f.name)
		}
		delete(present, f.name)
		if *f.to, err = readSmall(dir, f.name, f.limit); err != nil {
			return Manifest{}, err
		}
	}
	m, err := v.manifest(h.manifest, h.sig, h.chain)
	if err != nil {
		return Manifest{}, err
	}
	buf := make([]byte, 256<<10)
	for _, f := range m.Files {
		if !present[f.Path] {
			return Manifest{}, refuse("The file %q, which the manifest lists, is missing.", f.Path)
		}
		delete(present, f.Path)
		if err := checkFile(ctx, dir, f, buf); err != nil {
			return Manifest{}, err
		}
	}
	for name := range present {
		return Manifest{},
			refuse("The model's directory has the file %q, which the manifest does not list.", brief(name))
	}
	return m, nil
}

func readSmall(dir fs.FS, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, refuse("The package's %s has more than %d bytes.", name, limit)
	}
	return b, nil
}

func checkFile(ctx context.Context, dir fs.FS, f File, buf []byte) error {
	r, err := dir.Open(f.Path)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer r.Close() // only read
	sum := sha256.New()
	n, err := untrusted.Copy(sum, untrusted.NewReader(ctx, io.LimitReader(r, f.Size+1)), buf)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", f.Path, err)
	case n != f.Size:
		return refuse("The file %q has another size than its manifest says.", f.Path)
	case hexSum(sum) != f.SHA256:
		return refuse("The file %q is not the one that was signed: its digest is wrong.", f.Path)
	}
	return nil
}
