package enroll

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/slipway-ml/slipway/internal/agent/config"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
)

// The files of an identity.
const (
	ConfigFile = "agent.json"
	certFile   = "device.pem.crt"
	keyFile    = "private.pem.key"
	caFile     = "ca.pem"
	rootsDir   = "roots"
)

const pollKey = "slipway_poll_seconds"

// region is what may be part of a file's name.
var region = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// directory is where an identity is written.
type directory struct{ path string }

// open makes dir if it is not there.
func open(dir string) (directory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return directory{}, err
	}
	path := filepath.Join(dir, ConfigFile)
	switch _, err := os.Lstat(path); {
	case err == nil:
		return directory{}, fmt.Errorf("%s exists: this device is enrolled already", path)
	case !errors.Is(err, fs.ErrNotExist):
		return directory{}, err
	}
	return directory{dir}, nil
}

// write writes the files, the configuration last and only if it is good.
func (d directory) write(reply enroll.Reply, key *ecdsa.PrivateKey) error {
	settings, err := d.settings(reply.Config)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(d.path, rootsDir), 0o755); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{
		{keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600},
		{certFile, []byte(reply.Certificate), 0o644},
		{caFile, []byte(reply.Chain), 0o444},
	} {
		if err := d.put(f.name, f.text, f.mode); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(reply.SigningRoots)) {
		if !region.MatchString(name) {
			return fmt.Errorf("the server's answer is refused: %.80q is not a region", name)
		}
		if err := d.put(filepath.Join(rootsDir, name+".pem"), []byte(reply.SigningRoots[name]), 0o444); err != nil {
			return err
		}
	}
	return d.put(ConfigFile, settings, 0o644)
}

// settings is the text of agent.json: what the server says, and where the files
// are, from the directory on so that it may be moved.
func (d directory) settings(said map[string]string) ([]byte, error) {
	file := maps.Clone(said)
	if file == nil {
		file = map[string]string{}
	}
	// With a key of ours the file is none of the old agent's, which asked once a
	// day.
	if _, says := file[pollKey]; !says {
		file[pollKey] = "60"
	}
	maps.Copy(file, map[string]string{
		"sagemaker_edge_core_root_certs_path":      rootsDir,
		"sagemaker_edge_provider_aws_ca_cert_file": caFile,
		"sagemaker_edge_provider_aws_cert_file":    certFile,
		"sagemaker_edge_provider_aws_cert_pk_file": keyFile,
	})
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, err
	}
	if _, err := config.Parse(text, config.Place{Dir: "/"}); err != nil {
		return nil, fmt.Errorf("the server's answer is refused: %w", err)
	}
	return append(text, '\n'), nil
}

// put writes one file, whole or not at all, and lasting.
func (d directory) put(name string, text []byte, mode fs.FileMode) error {
	path := filepath.Join(d.path, name)
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
