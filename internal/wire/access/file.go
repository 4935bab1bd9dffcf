package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Keys is the keyring of one AWS shared-credentials file: each profile is a
// key, and each key an administrator's. It changes with Reload alone.
type Keys struct {
	path, account string

	ring atomic.Pointer[keyring]
}

// keyring is what a file says. It never changes.
type keyring struct {
	byID    map[string]sigv4.Key
	initial sigv4.Key
}

// maxFile bounds a credentials file, in bytes.
const maxFile = 1 << 20

// OpenFile reads the credentials file at path for an account, and creates it
// with one new random key, the profile "default", if there is none. A file that
// others may read is refused: its secrets may be known already.
func OpenFile(path, account string) (*Keys, error) {
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the credentials file: %w", err)
	}
	k := &Keys{path: path, account: account}
	return k, k.Reload()
}

// Reload reads the file again. If it cannot be read, the keys stay as they are.
func (k *Keys) Reload() error {
	text, err := readSecret(k.path)
	if err != nil {
		return fmt.Errorf("read the credentials file: %w", err)
	}
	ring, err := parse(string(text), k.account)
	if err != nil {
		return fmt.Errorf("%s: %w", k.path, err)
	}
	k.ring.Store(ring)
	return nil
}

// readSecret reads a file whose secrets nobody else can have seen.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, fmt.Errorf("%s is not a file of keys", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf(
			"%s holds secret keys but others may read it (mode %04o): replace its keys if someone may have, then "+
				"run: chmod 600 %[1]s",
			path, info.Mode().Perm(),
		)
	}
	return os.ReadFile(path)
}

// OpenSessions reads the key of the sessions from the file at path, and creates
// it, random, if there is none. Without the file, sessions that were issued are
// worth nothing: devices fetch new ones. A file that others may read is refused.
func OpenSessions(path string) (*Sessions, error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	if err := writeOnce(path, fmt.Appendf(nil, "%x\n", key)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the key of the sessions: %w", err)
	}
	text, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the sessions: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(b) != len(key) {
		return nil, fmt.Errorf("%s does not hold a key of 32 bytes in hexadecimal", path)
	}
	return NewSessions([32]byte(b)), nil
}

// Key finds a key by its ID.
func (k *Keys) Key(id string) (sigv4.Key, bool) {
	if k == nil { // a Ring of devices alone
		return sigv4.Key{}, false
	}
	key, ok := k.ring.Load().byID[id]
	return key, ok
}

// Default returns the key of the profile "default", or the file's first.
func (k *Keys) Default() sigv4.Key { return k.ring.Load().initial }

func create(path string) error {
	id, secret := newKey()
	return writeOnce(path, fmt.Appendf(
		nil,
		"# The keys that may use this Slipway server: an AWS shared-credentials file.\n"+
			"# Each profile is one administrator's key.\n[default]\naws_access_key_id = %s\n"+
			"aws_secret_access_key = %s\n",
		id, secret,
	))
}

// writeOnce writes a file that only its owner may read. It fails with
// fs.ErrExist if there is one already.
func writeOnce(path string, content []byte) error {
	if _, err := os.Stat(path); err == nil {
		return fs.ErrExist
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".credentials-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // the link below is what stays
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	// Link and not rename: of two servers that start at once, one wins.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newKey returns a key in the form that AWS gives its own: "AKIA" and sixteen
// of base 32; forty of base 64.
func newKey() (id, secret string) {
	b := make([]byte, 40)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	id = "AKIA" + base32.StdEncoding.EncodeToString(b[:10])
	return id, base64.RawStdEncoding.EncodeToString(b[10:])
}

func parse(text, account string) (*keyring, error) {
	k := &keyring{byID: map[string]sigv4.Key{}}
	var cur *sigv4.Key
	var profile string
	seen := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			if err := k.add(profile, cur); err != nil {
				return nil, err
			}
			profile = strings.TrimSpace(strings.Trim(line, "[]"))
			if seen[profile] {
				return nil, fmt.Errorf("line %d: profile %q is there twice", n+1, profile)
			}
			seen[profile] = true
			cur = &sigv4.Key{ARN: "arn:aws:iam::" + account + ":user/" + profile}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || cur == nil {
			return nil, fmt.Errorf("line %d is not a setting of a profile", n+1)
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			cur.ID = value
		case "aws_secret_access_key":
			cur.Secret = value
		case "aws_session_token":
			cur.SessionToken = value
		}
	}
	if err := k.add(profile, cur); err != nil {
		return nil, err
	}
	if len(k.byID) == 0 {
		return nil, errors.New("no profile has a key")
	}
	return k, nil
}

func (k *keyring) add(profile string, key *sigv4.Key) error {
	if key == nil {
		return nil
	}
	switch _, twice := k.byID[key.ID]; {
	case key.ID == "" || key.Secret == "":
		return fmt.Errorf("profile %q needs aws_access_key_id and aws_secret_access_key", profile)
	case strings.ContainsAny(key.ID, "/, ="):
		return fmt.Errorf("profile %q has an aws_access_key_id that cannot be one", profile)
	case twice:
		return fmt.Errorf("profile %q has the key ID of another profile", profile)
	}
	key.UserID = userID(key.ID)
	if profile == "default" || k.initial.ID == "" {
		k.initial = *key
	}
	k.byID[key.ID] = *key
	return nil
}

// userID is the stable unique ID of a key's user, in the form of AWS's.
func userID(keyID string) string {
	sum := sha256.Sum256([]byte("user of " + keyID))
	return "AIDA" + base32.StdEncoding.EncodeToString(sum[:10])
}

// Authenticate finds the key whose secret was shown: the key with that ID, or
// any key when id is "". It is for clients that cannot sign. A key with a
// session token has none of its secrets shown that way.
func (k *Keys) Authenticate(id, secret string) (sigv4.Key, bool) {
	var found sigv4.Key
	if k == nil {
		return found, false
	}
	shown := sha256.Sum256([]byte(secret))
	for _, key := range k.ring.Load().byID { // all of them, so that the time it takes tells nothing
		want := sha256.Sum256([]byte(key.Secret))
		if subtle.ConstantTimeCompare(shown[:], want[:]) == 1 && (id == "" || id == key.ID) && key.SessionToken == "" {
			found = key
		}
	}
	return found, found.ID != ""
}
