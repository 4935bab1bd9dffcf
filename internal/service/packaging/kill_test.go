package packaging_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/models"
)

const childDir = "SLIPWAY_PACKAGING_TEST_DIR"

// TestChild is the server that the next test kills.
func TestChild(t *testing.T) {
	at := os.Getenv(childDir)
	if at == "" {
		t.Skip("it is run by the test of a killed server")
	}
	b := open(t, at)
	if err := b.objects.CreateBucket(t.Context(), objects.Bucket{Name: "models"}); err != nil {
		t.Fatal(err)
	}
	in := b.put("digits.tar.gz", models.Archive("v1"))
	b.run()
	b.compile("c", domain.Compile{Input: in, Framework: "ONNX"})
	b.pack("p", domain.Pack{CompilationJob: "c", ModelName: "digits", ModelVersion: "1"})
}

func TestAKilledServerFinishesItsJobsAfterTheNextStart(t *testing.T) {
	// The object store is hit first by the input, then by the artifact, then by
	// the package.
	for _, point := range []string{
		"packaging.started", "objects.written:2", "objects.renamed:2", "packaging.worked",
		"packaging.started:2", "objects.written:3", "objects.renamed:3", "packaging.worked:2",
	} {
		t.Run(point, func(t *testing.T) {
			at := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
			cmd.Env = append(os.Environ(), childDir+"="+at, failpoint.Env+"="+point)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("it was not killed: %v\n%s", err, out)
			}
			b := open(t, at)
			b.run()
			if c := b.await(domain.Compilation, "c"); c.State.Status != domain.Completed {
				t.Fatalf("%+v", c.State)
			}
			if _, err := b.Job(t.Context(), domain.Packaging, scope, "p"); err != nil {
				if _, err := b.CreatePackaging(
					t.Context(), scope, "p",
					domain.Pack{
						CompilationJob: "c", ModelName: "digits", ModelVersion: "1", OutputAt: "s3://models/packages",
					},
					nil, nil,
				); err != nil {
					t.Fatal(err)
				}
			}
			j := b.await(domain.Packaging, "p")
			if j.State.Status != domain.Completed {
				t.Fatalf("%+v", j.State)
			}
			pkg := b.get(j.Pack.Result.URI)
			if now, err := b.SHA1Now(t.Context(), j.Pack.Result.URI); err != nil || now != j.Pack.Result.SHA1 {
				t.Errorf("the record says %s, the object is %s (%v)", j.Pack.Result.SHA1, now, err)
			}
			if _, err := b.verifier().Unpack(t.Context(), bytes.NewReader(pkg), dir(t.TempDir())); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(at + "/work"); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}
