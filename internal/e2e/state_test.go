package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

// A server on an empty database must not end the models that run; nor one on
// another server's.
func TestAServerOnAnotherDatabaseRefusesAndLeavesTheModelsRunning(t *testing.T) {
	t.Run("an empty file", func(t *testing.T) {
		s := startServer(t)
		db := filepath.Join(s.dataDir, "slipway.db")
		wantRefusal(t, s, func() { rename(t, db, db+".kept") }, func() { rename(t, db+".kept", db) })
	})
	t.Run("another database of PostgreSQL", func(t *testing.T) {
		url, other := pgtest.DSN(t), pgtest.DSN(t)
		startServer(t, func(c *config.Config) { c.Database.URL = other }).stop()
		s := startServer(t, func(c *config.Config) { c.Database.URL = url })
		wantRefusal(t, s, func() { s.replaceInConfig(url, other) }, func() { s.replaceInConfig(other, url) })
	})
	t.Run("an older state", func(t *testing.T) {
		url := pgtest.DSN(t)
		s := startServer(t, func(c *config.Config) { c.Database.URL = url })
		back := func(by string) func() {
			return func() {
				db, err := sql.Open("pgx", url)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if _, err := db.ExecContext(t.Context(), `update counter set n = n `+by); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantRefusal(t, s, back("- 1"), back("+ 1"))
	})
}

// wantRefusal has the server of a running model start on another database, and
// then again on its own.
func wantRefusal(t *testing.T, s *server, replace, restore func()) {
	t.Helper()
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("e", "m")
	before := pids(s)
	s.stop()
	replace()
	out, err := s.tryClient(program(t, "slipway"), "server", "--config", s.file, "--listen", "127.0.0.1:0")
	if err == nil || !strings.Contains(string(out), "--accept-database ") {
		t.Errorf("the start: %v\n%s", err, out)
	}
	if now := pids(s); !slices.Equal(now, before) {
		t.Errorf("the instances were %v and are %v", before, now)
	}
	restore()
	s.restart()
	s.wantWhole(c, "m")
	if now := pids(s); !slices.Equal(now, before) {
		t.Errorf("the instances were %v, adopted they are %v", before, now)
	}
	c.deleteEndpoint("e")
	eventually(t, 10*time.Second, "no instance runs", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func (s *server) replaceInConfig(from, to string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), from, to)
	if err := os.WriteFile(s.file, []byte(changed), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// A server that is told to stop says so before it turns connections away.
func TestAStoppingServerIsUnreadyBeforeItTakesNoMoreConnections(t *testing.T) {
	s := startServer(t, func(c *config.Config) { c.Limits.LameDuck = config.Duration(5 * time.Second) })
	probe := func(path string) int { // on a connection of its own
		r := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := r.Get(s.url + path)
		if err != nil {
			return 0
		}
		_ = resp.Body.Close() // only the status matters
		return resp.StatusCode
	}
	s.dying.Store(true)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 4*time.Second, "the server is not ready", func() bool { return probe("/readyz") == 503 })
	if status := probe("/healthz"); status != 200 {
		t.Errorf("a new connection: %d", status)
	}
	eventually(t, time.Minute, "connections are turned away", func() bool { return probe("/readyz") == 0 })
	<-s.exited
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestAHangUpHasAccessKeysAndImagesReadAgain(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	path := filepath.Join(s.dataDir, "credentials")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const id, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	second := "[second]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n"
	if err := os.WriteFile(path, append(text, second...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.replaceInConfig(testImage, "test/renamed:latest")
	hangUp := func() {
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	as := func() error {
		cfg := aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String(s.url), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
		}
		_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		return err
	}
	eventually(t, time.Minute, "the new key is good", func() bool { return as() == nil })
	create := func(name, image string) error {
		_, err := c.sagemaker.CreateModel(t.Context(), &sagemaker.CreateModelInput{
			ModelName: &name, ExecutionRoleArn: aws.String("arn:aws:iam::123456789012:role/r"),
			PrimaryContainer: &types.ContainerDefinition{Image: &image},
		})
		return err
	}
	eventually(t, time.Minute, "the new image is known", func() bool {
		return create("new", "test/renamed:latest") == nil
	})
	if err := create("old", testImage); err == nil {
		t.Error("the old image is known still")
	}
	if err := os.WriteFile(path, text, 0o600); err != nil { // the second key is taken back
		t.Fatal(err)
	}
	hangUp()
	eventually(t, time.Minute, "the key that was taken back is refused", func() bool { return as() != nil })
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, time.Minute, "what cannot be read is told", func() bool {
		log, err := os.ReadFile(s.logPath())
		return err == nil && strings.Contains(string(log), "the access keys stay as they were")
	})
	if err := create("newer", "test/renamed:latest"); err != nil {
		t.Errorf("with the first key: %v", err)
	}
}

// The disk of the data directory is full when the server starts again: what was
// served is served.
func TestAFullDiskKeepsNoRestartFromRouting(t *testing.T) {
	s := startServer(t, func(c *config.Config) {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", c.DataDir, "tmpfs", 0, "size=64m"); err != nil {
			t.Skip("mounting a small disk needs root:", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(c.DataDir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	})
	c := s.sdk()
	c.deployable("m", 2, nil)
	c.createEndpoint("e", "m")
	fill := filepath.Join(s.dataDir, "fill")
	for name, end := range map[string]func(){"stopped": s.stop, "killed": s.kill} {
		eventually(t, time.Minute, "room is kept for a start", func() bool {
			_, err := os.Stat(filepath.Join(s.dataDir, "reserve"))
			return err == nil
		})
		end()
		if err := os.WriteFile(fill, make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal("the disk was to be filled:", err)
		}
		address := s.address()
		s.start(address)
		eventually(t, time.Minute, "a server that was "+name+" serves again", func() bool {
			_, err := c.runtime.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
				EndpointName: aws.String("e"), Body: []byte("{}"),
			})
			return err == nil
		})
		got, err := os.ReadFile(filepath.Join(s.dataDir, "address"))
		if err != nil || !strings.Contains(string(got), address) {
			t.Errorf("the address file holds %q, %v", got, err)
		}
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "the server is ready when there is room", s.awaitReady)
		s.stop()
		s.restart() // which keeps room again
	}
	c.deleteEndpoint("e")
	eventually(t, time.Minute, "no instance runs", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

// A file that is valid by itself is refused as a whole if what may change while the
// server runs does not go with what it runs on.
func TestAHangUpWhoseHalvesDoNotGoTogetherChangesNothing(t *testing.T) {
	s := startServer(t)
	d := config.Default().Limits
	s.replaceInConfig(fmt.Sprint("maxBodyBytes: ", d.MaxBodyBytes), "maxBodyBytes: 1000")
	s.replaceInConfig(fmt.Sprint("requestMemoryBytes: ", d.RequestMemoryBytes), "requestMemoryBytes: 4000")
	s.replaceInConfig("minimumRequests: 0", "minimumRequests: 7")
	if cfg, err := config.Load(s.file); err != nil || cfg.Guardrails.MinimumRequests != 7 ||
		cfg.Limits.RequestMemoryBytes != 4000 {
		t.Fatalf("the file says %+v, %v", cfg, err)
	}
	logged := func(what ...string) func() bool {
		return func() bool {
			log, err := os.ReadFile(s.logPath())
			for _, w := range what {
				if err != nil || !strings.Contains(string(log), w) {
					return false
				}
			}
			return true
		}
	}
	hangUp := func() {
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	eventually(t, time.Minute, "it is refused", logged("the configuration stays as it was", "limits.maxBodyBytes"))
	s.replaceInConfig("requestMemoryBytes: 4000", fmt.Sprint("requestMemoryBytes: ", d.RequestMemoryBytes))
	hangUp() // what goes together is taken over, the guardrail among it, which was not before
	eventually(t, time.Minute, "the guardrail is taken over", logged(
		"configuration and access keys were read again", "changed=[guardrails.minimumRequests]"))
}
