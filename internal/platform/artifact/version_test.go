package artifact_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
)

// versionOf returns d in the version that is there now.
func versionOf(t *testing.T, c *artifact.Cache, d hosting.ModelData) hosting.ModelData {
	t.Helper()
	v, err := c.Version(t.Context(), d)
	if err != nil || v == "" {
		t.Fatalf("version %q, %v", v, err)
	}
	d.Version = v
	return d
}

func TestAVersionThatIsKeptIsServedWhateverBecameOfTheObject(t *testing.T) {
	other := archive(t, file("other", "x"))
	for name, c := range map[string]struct {
		data hosting.ModelData
		then func(*store)
	}{
		"an archive that is gone": {archiveAt(uri), func(s *store) { s.remove("b/model.tar.gz") }},
		"an archive that was replaced": {
			archiveAt(uri), func(s *store) { s.put("b/model.tar.gz", string(other)) },
		},
		"an object that was replaced":        {objectAt("s3://b/p/a"), func(s *store) { s.put("b/p/a", "2") }},
		"a prefix of which one was replaced": {prefixAt("s3://b/p/"), func(s *store) { s.put("b/p/a", "2") }},
		"a prefix that another was added to": {prefixAt("s3://b/p/"), func(s *store) { s.put("b/p/c", "2") }},
		"a prefix that is gone": {
			prefixAt("s3://b/p/"), func(s *store) { s.remove("b/p/a"); s.remove("b/p/b") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t)), "b/p/a": "1", "b/p/b": "1"})
			dir := t.TempDir()
			cache := open(t, artifact.Config{Source: s, Dir: dir})
			pinned := versionOf(t, cache, c.data)
			first := mustFetch(t, cache, pinned)
			c.then(s)
			if again := mustFetch(t, cache, pinned); again != first {
				t.Errorf("it became %+v", again)
			}
			if err := cache.Close(); err != nil {
				t.Fatal(err)
			}
			cache = open(t, artifact.Config{Source: s, Dir: dir}) // the next server's
			if again := mustFetch(t, cache, pinned); again != first {
				t.Errorf("after a restart it became %+v", again)
			}
			if got := cache.Kept(c.data); got != pinned.Version {
				t.Errorf("kept %q, want %q", got, pinned.Version)
			}
		})
	}
}

func TestAVersionThatIsNowhereIsRefusedAndNeverReplaced(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	before := open(t, artifact.Config{Source: s})
	pinned := versionOf(t, before, archiveAt(uri))
	c := open(t, artifact.Config{Source: s}) // it lost all that it had
	s.put("b/model.tar.gz", string(archive(t, file("other", "x"))))
	if _, err := c.Fetch(t.Context(), pinned); !errors.Is(err, fault.Invalid) ||
		!strings.Contains(err.Error(), "was replaced") {
		t.Errorf("replaced: %v", err)
	}
	later := versionOf(t, c, archiveAt(uri))
	if m := mustFetch(t, c, later); m.Digest == "" || later.Version == pinned.Version {
		t.Errorf("a later fleet gets %+v of version %q", m, later.Version)
	}
	if _, err := c.Fetch(t.Context(), pinned); !errors.Is(err, fault.Invalid) {
		t.Errorf("replaced, and the other one kept: %v", err)
	}
	s.put("b/model.tar.gz", string(goodArchive(t)))
	mustFetch(t, c, pinned) // the same bytes are back
	s.remove("b/model.tar.gz")
	c = open(t, artifact.Config{Source: s})
	if _, err := c.Fetch(t.Context(), pinned); !errors.Is(err, fault.NotFound) {
		t.Errorf("gone: %v", err)
	}
}

func TestAnArchiveThatIsReplacedWhileItIsLookedAtIsRefused(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	c := open(t, artifact.Config{Source: s})
	pinned := versionOf(t, c, archiveAt(uri))
	s.looked = func() { s.put("b/model.tar.gz", string(archive(t, file("other", "x")))) }
	if _, err := c.Fetch(t.Context(), pinned); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestWhatNobodyNamesGoesAndWhatAFleetServesStays(t *testing.T) {
	dir := t.TempDir() // on the disk that is real; the time is not
	synctest.Test(t, func(t *testing.T) {
		s := newStore(map[string]string{"b/served": "1", "b/named": "22", "b/gone": "333"})
		c := open(t, artifact.Config{Source: s, Dir: dir, MaxCache: 1 << 20})
		served := versionOf(t, c, objectAt("s3://b/served"))
		old := mustFetch(t, c, served)
		s.put("b/served", "4444")
		later := versionOf(t, c, objectAt("s3://b/served"))
		mustFetch(t, c, later)
		mustFetch(t, c, objectAt("s3://b/named"))
		gone := mustFetch(t, c, objectAt("s3://b/gone"))
		use := artifact.InUse{
			Served: []hosting.ModelData{served}, Named: []hosting.ModelData{objectAt("s3://b/named")},
		}
		prune := func(want int64) {
			t.Helper()
			if freed, err := c.Prune(t.Context(), use); err != nil || freed != want {
				t.Errorf("freed %d, %v; want %d", freed, err, want)
			}
		}
		prune(0) // all are new
		time.Sleep(time.Hour)
		prune(gone.Size)
		if _, err := os.Stat(gone.Dir); err == nil {
			t.Error("what nobody names is there")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = open(t, artifact.Config{Source: s, Dir: dir, MaxCache: 1}) // a byte for all
		time.Sleep(time.Hour)
		prune(2 + 4) // the named one and the version that no fleet serves
		if _, err := os.Stat(old.Dir); err != nil {
			t.Errorf("what a fleet serves: %v", err)
		}
		use.Served = nil
		prune(1)
	})
}

func TestTheSameBytesServeInAnotherVersion(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	before := open(t, artifact.Config{Source: s})
	pinned := versionOf(t, before, archiveAt(uri))
	first := mustFetch(t, before, pinned)
	pinned.Digest = before.Digest(pinned)
	kept := before.KeptAt(archiveAt(uri), first.Dir)
	if pinned.Digest == "" || pinned.Digest != first.Digest || kept != pinned.Version {
		t.Errorf("digest %q of %+v in version %q", pinned.Digest, first, kept)
	}
	s.retag = "-2" // uploaded again, in parts
	c := open(t, artifact.Config{Source: s})
	if m := mustFetch(t, c, pinned); m.Digest != first.Digest {
		t.Errorf("got %+v", m)
	}
	s.remove("b/model.tar.gz")
	if m := mustFetch(t, c, pinned); m.Digest != first.Digest {
		t.Errorf("once it is here, got %+v", m)
	}
	s.put("b/model.tar.gz", string(archive(t, file("other", "x"))))
	c = open(t, artifact.Config{Source: s})
	for range 2 { // the second time, what came is here
		if m, err := c.Fetch(t.Context(), pinned); !errors.Is(err, fault.Invalid) {
			t.Errorf("other bytes: %+v, %v", m, err)
		}
	}
	if c.KeptAt(archiveAt(uri), "/elsewhere/"+first.Digest) != "" || c.Digest(pinned) != "" {
		t.Error("it is said to be here")
	}
}
