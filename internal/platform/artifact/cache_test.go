package artifact_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
)

const uri = "s3://b/model.tar.gz"

func TestManyWhoWantTheSameShareOneDownload(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	s.hold, s.opened = make(chan struct{}), make(chan string, 100)
	c := open(t, artifact.Config{Source: s})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { mustFetch(t, c, archiveAt(uri)) })
	}
	<-s.opened
	close(s.hold)
	wg.Wait()
	if s.downloads() != 1 {
		t.Errorf("%d downloads", s.downloads())
	}
}

func TestADownloadGoesOnWhenTheFirstWhoWantedItLeaves(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	s.hold, s.opened = make(chan struct{}), make(chan string, 100)
	c := open(t, artifact.Config{Source: s})
	first, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := c.Fetch(first, archiveAt(uri))
		left <- err
	}()
	<-s.opened
	stayed := make(chan error)
	joined := make(chan struct{})
	go func() {
		close(joined)
		_, err := c.Fetch(t.Context(), archiveAt(uri))
		stayed <- err
	}()
	<-joined
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	close(s.hold)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
}

func TestADownloadNobodyWaitsForEnds(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t))})
	s.hold, s.opened = make(chan struct{}), make(chan string, 100)
	dir := t.TempDir()
	c := open(t, artifact.Config{Source: s, Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Fetch(ctx, archiveAt(uri)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch: %v", err)
	}
	if err := c.Close(); err != nil { // waits for the download, which nobody lets go on
		t.Fatal(err)
	}
	wantNothingLeft(t, dir)
	if _, err := c.Fetch(t.Context(), archiveAt(uri)); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a closed cache: %v", err)
	}
}

func TestCloseEndsADownload(t *testing.T) {
	s := newStore(map[string]string{"b/p/1": "1", "b/p/2": "2"})
	s.hold, s.opened = make(chan struct{}), make(chan string, 100)
	dir := t.TempDir()
	c := open(t, artifact.Config{Source: s, Dir: dir})
	got := make(chan error)
	go func() {
		_, err := c.Fetch(t.Context(), hosting.ModelData{URI: "s3://b/p/", Layout: hosting.Prefix})
		got <- err
	}()
	<-s.opened
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !isDone(err) {
		t.Errorf("Fetch: %v", err)
	}
	wantNothingLeft(t, dir)
}

func TestTheNextServerFindsWhatIsCached(t *testing.T) {
	s := newStore(map[string]string{"b/model.tar.gz": string(goodArchive(t)), "b/p/a": "A"})
	dir := t.TempDir()
	c := open(t, artifact.Config{Source: s, Dir: dir})
	prefix := hosting.ModelData{URI: "s3://b/p/", Layout: hosting.Prefix}
	a, p := mustFetch(t, c, archiveAt(uri)), mustFetch(t, c, prefix)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.downloads()
	c = open(t, artifact.Config{Source: s, Dir: dir})
	if mustFetch(t, c, archiveAt(uri)) != a || mustFetch(t, c, prefix) != p || s.downloads() != before {
		t.Errorf("%d more downloads", s.downloads()-before)
	}
	// A model that somebody deleted comes back.
	if err := artifact.RemoveTree(a.Dir); err != nil {
		t.Fatal(err)
	}
	if again := mustFetch(t, c, archiveAt(uri)); again != a {
		t.Errorf("it came back as %+v", again)
	}
	wantFiles(t, p.Dir, "a -r--r--r-- A")
}

func TestPruningSparesWhatIsInUseAndWhatIsNew(t *testing.T) {
	dir := t.TempDir() // on the disk that is real; the time is not
	synctest.Test(t, func(t *testing.T) {
		s := newStore(map[string]string{})
		c := open(t, artifact.Config{Source: s, Dir: dir, MaxCache: 250, KeepFor: time.Hour})
		var models []artifact.Model
		fetch := func(i int) artifact.Model {
			return mustFetch(t, c, hosting.ModelData{URI: fmt.Sprintf("s3://b/%d", i), Layout: hosting.Object})
		}
		for i := range 5 {
			s.put(fmt.Sprintf("b/%d", i), strings.Repeat(fmt.Sprint(i), 100))
			models = append(models, fetch(i))
			time.Sleep(time.Minute)
		}
		use := artifact.InUse{}
		for i := range 5 {
			use.Named = append(use.Named, hosting.ModelData{URI: fmt.Sprintf("s3://b/%d", i), Layout: hosting.Object})
		}
		prune := func(want int64, dirs ...string) {
			t.Helper()
			use.Dirs = dirs
			if freed, err := c.Prune(t.Context(), use); err != nil || freed != want {
				t.Errorf("freed %d, %v; want %d", freed, err, want)
			}
		}
		there := func(i int) bool { _, err := os.Stat(models[i].Dir); return err == nil }
		prune(0) // all are new
		time.Sleep(2 * time.Hour)
		fetch(1) // used again
		prune(300, models[0].Dir)
		for i, want := range []bool{true, true, false, false, false} {
			if there(i) != want {
				t.Errorf("model %d is there: %v", i, there(i))
			}
		}
		prune(0)
		if again := fetch(2); again != models[2] || !there(2) {
			t.Errorf("it came back as %+v", again)
		}
		left, err := os.ReadDir(filepath.Join(dir, "tmp"))
		if err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

func TestFetchingAndPruningAtOnceNeverReturnsAMissingModel(t *testing.T) {
	s := newStore(map[string]string{})
	for i := range 4 {
		s.put(fmt.Sprintf("b/%d", i), strings.Repeat("x", 100+i))
	}
	c := open(t, artifact.Config{Source: s, MaxCache: 1, KeepFor: 10 * time.Millisecond})
	end := time.Now().Add(400 * time.Millisecond)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; time.Now().Before(end); i++ {
				began := time.Now()
				m := mustFetch(t, c, hosting.ModelData{URI: fmt.Sprintf("s3://b/%d", i%4), Layout: hosting.Object})
				_, err := os.ReadDir(m.Dir)
				if err != nil && time.Since(began) < 10*time.Millisecond {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for time.Now().Before(end) {
			if _, err := c.Prune(t.Context(), artifact.InUse{}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

// childEnv makes this test binary fetch into the directory it names.
const childEnv = "ARTIFACT_TEST_CHILD"

func beChild() int {
	s := newStore(map[string]string{"b/model.tar.gz": os.Getenv("ARTIFACT_TEST_OBJECT")})
	c, err := artifact.New(artifact.Config{Source: s, Dir: os.Getenv(childEnv), MaxCache: 1, KeepFor: time.Nanosecond})
	if err == nil {
		_, err = c.Fetch(context.Background(), hosting.ModelData{URI: uri, Layout: hosting.Object})
	}
	if err == nil {
		_, err = c.Prune(context.Background(), artifact.InUse{})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestACrashLeavesNoHalfModel(t *testing.T) {
	for point, kept := range map[string]bool{
		"artifact.unpacked": false, "artifact.sealed": false,
		"artifact.placed": true,
	} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir, "ARTIFACT_TEST_OBJECT=content", failpoint.Env+"="+point)
			out, err := cmd.CombinedOutput()
			exit, _ := errors.AsType[*exec.ExitError](err)
			if exit == nil || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("it was to die: %v\n%s", err, out)
			}
			s := newStore(map[string]string{"b/model.tar.gz": "content"})
			c := open(t, artifact.Config{Source: s, Dir: dir})
			if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if models, err := os.ReadDir(filepath.Join(dir, "models")); err != nil || len(models) == 1 != kept {
				t.Errorf("models: %v, %v", models, err)
			}
			m := mustFetch(t, c, hosting.ModelData{URI: uri, Layout: hosting.Object})
			wantFiles(t, m.Dir, "model.tar.gz -r--r--r-- content")
		})
	}
}

// Read-only directories hinder only ordinary users: this test becomes one.
func TestAnOrdinaryUserCanFetchAndPrune(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, "ARTIFACT_TEST_OBJECT=content")
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Path = copyProgram(t)
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantNothingLeft(t, dir)
}

// copyProgram makes this test's program one that everybody may execute.
func copyProgram(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "artifact-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "program")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, b, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

func BenchmarkUnpack(b *testing.B) {
	noise := make([]byte, 64<<20)
	seed := uint64(1)
	for i := range noise { // half of it compresses, as weights do a little
		seed = seed*6364136223846793005 + 1442695040888963407
		noise[i] = byte(seed>>56) & 0x3f
	}
	var small []member
	for i := range 2000 {
		small = append(small, file(fmt.Sprintf("dir-%d/file-%d", i%50, i), "some content"))
	}
	for name, c := range map[string]struct {
		data []byte
		size int64
	}{
		"one large file":   {archive(b, file("weights", string(noise))), int64(len(noise))},
		"2000 small files": {archive(b, small...), 2000 * 512 * 2},
	} {
		b.Run(name, func(b *testing.B) {
			s := newStore(map[string]string{})
			b.SetBytes(c.size)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				s.put(fmt.Sprintf("b/%d", i), string(c.data))
				cache := open(b, artifact.Config{Source: s})
				b.StartTimer()
				m, err := cache.Fetch(b.Context(), archiveAt(fmt.Sprintf("s3://b/%d", i)))
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := artifact.RemoveTree(m.Dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
