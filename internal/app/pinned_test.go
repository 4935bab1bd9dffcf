package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// putModel stores an archive whose instances answer name.
func (s *served) putModel(name string) {
	s.t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	s.ok(w.WriteHeader(&tar.Header{Name: "name", Mode: 0o644, Size: int64(len(name)), Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte(name))
	s.ok(err)
	s.ok(w.Close())
	s.ok(z.Close())
	_, err = s.app.objects.Put(s.t.Context(), "models", "model.tar.gz", &b, objects.Put{})
	s.ok(err)
}

// configure makes a configuration of one instance of model m.
func (s *served) configure(config string) {
	s.t.Helper()
	_, err := s.CreateEndpointConfig(s.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &config, ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("main"), ModelName: aws.String("m"), InitialInstanceCount: aws.Int32(1),
			InstanceType: types.ProductionVariantInstanceTypeMlM5Large,
		}},
	})
	s.ok(err)
}

// loseInstances kills every instance and waits until others run.
func (s *served) loseInstances() {
	s.t.Helper()
	killed := map[int]bool{}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(s.app.cfg.DataDir, "instances", "instances", "*.json"))
		s.ok(err)
		fresh := 0
		for _, f := range files {
			var rec struct {
				Phase string
				PID   int
			}
			b, err := os.ReadFile(f)
			if err != nil || json.Unmarshal(b, &rec) != nil || rec.Phase != "running" {
				continue // it is just being written or removed
			}
			if len(killed) == 0 {
				killed[rec.PID] = true
				s.ok(syscall.Kill(rec.PID, syscall.SIGKILL))
			} else if !killed[rec.PID] {
				fresh++
			}
		}
		if fresh > 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("no instance came back")
		}
	}
}

// answers asks until the endpoint answers.
func (s *served) answers() string {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		out, err := s.runtime.InvokeEndpoint(s.t.Context(), &sagemakerruntime.InvokeEndpointInput{
			EndpointName: aws.String("e"), Body: []byte("x"),
		})
		if err == nil {
			return string(out.Body)
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
	}
}

func TestAReplacedInstanceServesTheBytesOfItsFleet(t *testing.T) {
	s := serve(t)
	s.ok(s.app.objects.CreateBucket(t.Context(), objects.Bucket{Name: "models"}))
	s.putModel("first")
	_, err := s.CreateModel(t.Context(), &sagemaker.CreateModelInput{
		ModelName: aws.String("m"), PrimaryContainer: &types.ContainerDefinition{
			Image: aws.String("test/model"), ModelDataUrl: aws.String("s3://models/model.tar.gz"),
		},
	})
	s.ok(err)
	s.configure("c1")
	s.configure("c2")
	_, err = s.CreateEndpoint(t.Context(),
		&sagemaker.CreateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("c1")})
	s.ok(err)
	s.awaitInService()
	if got := s.answers(); !strings.Contains(got, "first") {
		t.Fatalf("it answers %s", got)
	}
	for what, change := range map[string]func(){
		"replaced": func() { s.putModel("second") },
		"deleted":  func() { s.ok(s.app.objects.Delete(t.Context(), "models", "model.tar.gz", objects.Condition{})) },
	} {
		change()
		s.loseInstances()
		if got := s.answers(); !strings.Contains(got, "first") {
			t.Fatalf("after the object was %s, a new instance answers %s", what, got)
		}
	}
	s.putModel("second")
	_, err = s.UpdateEndpoint(t.Context(),
		&sagemaker.UpdateEndpointInput{EndpointName: aws.String("e"), EndpointConfigName: aws.String("c2")})
	s.ok(err)
	s.awaitInService()
	if got := s.answers(); !strings.Contains(got, "second") {
		t.Errorf("a later fleet answers %s", got)
	}
	scope := arn.Scope{Region: "us-east-1", Account: s.app.cfg.Account}
	all, _, err := s.app.hosting.Deployments(t.Context(), scope, "e", record.Page{Limit: 2})
	s.ok(err)
	is, was := all[0].Green.Variants[0], all[1].Green.Variants[0]
	if was.Container.ModelData.Version == "" || is.Replaced != was.Container.ModelData.Version ||
		is.Container.ModelData.Version == is.Replaced {
		t.Errorf("the records say %+v after %+v", is, was)
	}
}
