package objects_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// crashDir is set for the process that is to die.
const crashDir = "SLIPWAY_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := script(dir); err != nil {
			_, _ = os.Stderr.WriteString(err.Error()) // the parent shows it
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var firstPart = strings.Repeat("p", partSize)

// script replaces an object, deletes one, makes one of parts and makes a bucket.
func script(dir string) error {
	ctx := context.Background()
	s, err := objects.Open(dir)
	if err != nil {
		return err
	}
	_, err1 := s.Put(ctx, bucket, "replaced", strings.NewReader("new"), objects.Put{})
	err2 := s.Delete(ctx, bucket, "deep/er/deleted", objects.Condition{})
	id, err3 := s.Begin(ctx, bucket, objects.Upload{Key: "assembled"})
	p1, err4 := s.PutPart(ctx, bucket, "assembled", id, 1, strings.NewReader(firstPart))
	p2, err5 := s.PutPart(ctx, bucket, "assembled", id, 2, strings.NewReader("new"))
	_, err6 := s.Complete(ctx, bucket, "assembled", id, objects.Complete{Parts: []objects.Part{p1, p2}, Size: -1})
	return errors.Join(err1, err2, err3, err4, err5, err6, s.CreateBucket(ctx, objects.Bucket{Name: "another"}))
}

func TestKilledAnywhereItLeavesTheOldOrTheNew(t *testing.T) {
	for _, point := range []string{
		"", objects.FailWritten, objects.FailRenamed, objects.FailRemoved, objects.FailWritten + ":2",
		objects.FailRenamed + ":2",
		objects.FailAssembled, objects.FailBucketWritten,
	} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			put(t, s, "replaced", "old")
			put(t, s, "deep/er/deleted", "old")
			put(t, s, "assembled", "old")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			die(t, dir, point)
			checkAfterDeath(t, dir, point == "")
		})
	}
}

// die runs the script in a process of its own until it dies at point.
func die(t *testing.T, dir, point string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, failpoint.Env+"="+point)
	out, err := cmd.CombinedOutput()
	if point == "" {
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it did not die at %s: %v: %s", point, err, out)
	}
}

func checkAfterDeath(t *testing.T, dir string, finished bool) {
	t.Helper()
	s := open(t, dir)
	for key, allowed := range map[string][2]string{
		"replaced": {"old", "new"}, "assembled": {"old", firstPart + "new"},
		"deep/er/deleted": {"old", "<none>"},
	} {
		got, err := get(s, key)
		if errors.Is(err, objects.ErrNoKey) {
			got, err = "<none>", nil
		}
		if err != nil || got != allowed[1] && (finished || got != allowed[0]) {
			t.Errorf("%s: %d bytes, %v", key, len(got), err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	// Whatever it was, it can be done again.
	if err := s.CreateBucket(t.Context(), objects.Bucket{Name: "another"}); err == nil {
		err = s.DeleteBucket(t.Context(), "another")
		if err != nil {
			t.Error(err)
		}
	}
	uploads, err := s.Uploads(t.Context(), bucket, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads {
		parts, _, err := s.Parts(t.Context(), bucket, u.Key, u.ID, 0, 10)
		if err == nil && len(parts) == 2 {
			_, err = s.Complete(t.Context(), bucket, u.Key, u.ID, objects.Complete{Parts: parts, Size: -1})
		}
		if err != nil {
			t.Errorf("upload: %v", err)
		}
	}
	for _, k := range keys(t, s, objects.List{}) {
		if err := s.Delete(t.Context(), bucket, k, objects.Condition{}); err != nil {
			t.Error(err)
		}
	}
	if err := s.DeleteBucket(t.Context(), bucket); err != nil {
		t.Error(err)
	}
}
