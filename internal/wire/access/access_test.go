package access_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

const account = "000000000000"

func TestTheFirstStartWritesAKeyThatTheNextStartReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "credentials")
	first, err := access.OpenFile(path, account)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	k := first.Default()
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(k.ID) || len(k.Secret) != 40 {
		t.Errorf("key %q, secret of %d", k.ID, len(k.Secret))
	}
	if k.ARN != "arn:aws:iam::000000000000:user/default" ||
		!regexp.MustCompile(`^AIDA[A-Z2-7]{16}$`).MatchString(k.UserID) {
		t.Errorf("it speaks for %q, %q", k.ARN, k.UserID)
	}
	second, err := access.OpenFile(path, account)
	if err != nil {
		t.Fatal(err)
	}
	if second.Default() != k {
		t.Error("the second start has another key")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Error("something was left beside the file:", entries)
	}
	other, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), account)
	if err != nil || other.Default().Secret == k.Secret {
		t.Error("two servers have one secret", err)
	}
}

func TestEveryProfileIsAKey(t *testing.T) {
	keys, err := access.OpenFile(
		write(
			t,
			"[ci]\naws_access_key_id=AKIACI\naws_secret_access_key = a=b/c\n\n# more\n[ default ]\n"+
				"aws_access_key_id = AKIADEF\naws_secret_access_key=s\naws_session_token = tok\nregion = x\n",
		),
		account,
	)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := keys.Key("AKIACI"); !ok || k.Secret != "a=b/c" || k.ARN != "arn:aws:iam::000000000000:user/ci" {
		t.Errorf("ci: %v, %v", k, ok)
	}
	if k := keys.Default(); k.ID != "AKIADEF" || k.SessionToken != "tok" {
		t.Errorf("default: %v", k)
	}
	if _, ok := keys.Key(""); ok {
		t.Error("the empty ID has a key")
	}
}

func TestABadFileIsRefusedWithoutShowingASecret(t *testing.T) {
	const hidden = "hidden-secret"
	for name, c := range map[string]struct{ text, want string }{
		"no profile": {"", "no profile has a key"},
		"no section": {"aws_secret_access_key=" + hidden, "line 1 is not a setting of a profile"},
		"no ID":      {"[a]\naws_secret_access_key=" + hidden, `profile "a" needs`},
		"no secret":  {"[a]\naws_access_key_id=AK", `profile "a" needs`},
		"one ID twice": {
			"[a]\naws_access_key_id=AK\naws_secret_access_key=" + hidden +
				"\n[b]\naws_access_key_id=AK\naws_secret_access_key=" + hidden,
			`profile "b" has the key ID of another`,
		},
		"one profile twice": {
			"[a]\naws_access_key_id=AK\naws_secret_access_key=s\n[a]\n", `profile "a" is there twice`,
		},
		"an impossible ID":   {"[a]\naws_access_key_id=A/K\naws_secret_access_key=s", "cannot be one"},
		"a line of no sense": {"[a]\n" + hidden, "line 2 is not a setting"},
	} {
		_, err := access.OpenFile(write(t, c.text), account)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

func TestAFileThatOthersMayReadIsRefused(t *testing.T) {
	path := write(t, "[default]\naws_access_key_id=AK\naws_secret_access_key=s\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := access.OpenFile(path, account); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Error(err)
	}
}

func TestTheContextCarriesTheCaller(t *testing.T) {
	if _, err := access.From(t.Context()); err == nil {
		t.Error("a caller out of nothing")
	}
	want := access.CallerOf(sigv4.Identity{AccessKeyID: "AK", ARN: "a", UserID: "u", Region: "eu-west-1"}, account)
	got, err := access.From(access.With(t.Context(), want))
	if err != nil || got != want || got.Scope() != (arn.Scope{Region: "eu-west-1", Account: account}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
