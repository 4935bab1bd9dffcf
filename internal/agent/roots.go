package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// maxRoots bounds a file of signing roots, in bytes.
const maxRoots = 1 << 20

// signingRoots reads the certificates that packages have to be signed under
// (spec §5.4). A file that anybody may write to or execute is left out, as in
// Edge Manager: without its root nothing that it signed is loaded, and the
// agent goes on serving what else it has.
func signingRoots(dir string, log *slog.Logger) []*x509.Certificate {
	if dir == "" {
		log.Warn("no directory of signing roots is configured: no package can be loaded")
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil { // only the pattern can be wrong: dir has a bracket in it
		log.Error("the signing roots cannot be listed", "dir", dir, "err", err)
		return nil
	}
	var all []*x509.Certificate
	for _, path := range files {
		roots, err := readRoots(path)
		if err != nil {
			log.Error("a file of signing roots is not trusted", "file", path, "err", err)
			continue
		}
		all = append(all, roots...)
	}
	if len(all) == 0 {
		log.Error("there are no signing roots: no package can be loaded", "dir", dir)
	}
	return all
}

func readRoots(path string) ([]*x509.Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read: nothing can be lost
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Mode().Perm()&0o333 != 0:
		return nil, fmt.Errorf("its mode is %v: it must be read-only to everybody (chmod 444)", info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRoots))
	if err != nil {
		return nil, err
	}
	return bundle.ParseRoots(text)
}
