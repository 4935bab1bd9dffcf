package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/smithy-go"

	"github.com/slipway-ml/slipway/internal/api/s3"
	"github.com/slipway-ml/slipway/internal/api/sagemaker/jobs"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/store"
	jobstore "github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/internal/service/packaging"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	shapes "github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/shapetest"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// world is the API over the real service, store and objects.
type world struct {
	t       *testing.T
	url     string
	db      *store.DB
	objects *objects.Store
	service *packaging.Service
	*sagemaker.Client
}

// onBoth runs f against each database.
func onBoth(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	storetest.OnBoth(t, func(t *testing.T, db *store.DB) { f(t, newWorld(t, db, true)) })
}

func newWorld(t *testing.T, db *store.DB, run bool) *world {
	t.Helper()
	at := t.TempDir()
	objs, err := objects.Open(filepath.Join(at, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := artifact.New(artifact.Config{Dir: filepath.Join(at, "models"), Source: objs})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	svc, err := packaging.New(packaging.Config{
		Store: jobstore.New(db), Objects: objs, WorkDir: filepath.Join(at, "work"), Log: log,
		Fetch: cache.Fetch,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(shapetest.Complete(t, shapes.API(), handler(svc, objs, log)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if run {
			svc.Run(ctx)
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		cancel()
		<-done
		if err := errors.Join(cache.Close(), objs.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, url: srv.URL, db: db, objects: objs, service: svc}
	w.Client = w.in("us-east-1")
	w.ok(objs.CreateBucket(t.Context(), objects.Bucket{Name: "models"}))
	return w
}

// handler serves jobs and S3 at one address, and believes every caller:
// checking signatures is tested elsewhere.
func handler(svc *packaging.Service, objs *objects.Store, log *slog.Logger) http.Handler {
	control := rpc.NewHandler(
		rpc.Config{Service: shapes.API(), Protocols: []rpc.Speaker{awsjson.New}, Errors: awserr.SageMaker, Log: log},
		jobs.Ops(svc)...,
	)
	bucket := s3.New(objs, log)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := access.Caller{AccessKeyID: "AKID", Account: scope.Account, Region: scope.Region}
		if m := credentialScope.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
			c.Region = m[1]
		}
		r = r.WithContext(access.With(r.Context(), c))
		if r.Header.Get("X-Amz-Target") != "" {
			control.ServeHTTP(rw, r)
			return
		}
		bucket.ServeHTTP(rw, r)
	})
}

var credentialScope = regexp.MustCompile(`/([a-z0-9-]+)/(?:sagemaker|s3)/aws4_request`)

// in is a client that signs for a region.
func (w *world) in(region string) *sagemaker.Client {
	return sagemaker.New(sagemaker.Options{
		BaseEndpoint: &w.url, Region: region, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", ""),
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks the code and the words of an error.
func (w *world) refused(err error, code, words string) {
	w.t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), words) {
		w.t.Errorf("got %v\nwant %s: %s", err, code, words)
	}
}

func (w *world) put(key string, content []byte) string {
	w.t.Helper()
	_, err := w.objects.Put(w.t.Context(), "models", key, bytes.NewReader(content), objects.Put{})
	w.ok(err)
	return "s3://models/" + key
}
