package sagemaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"

	api "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/wire/access"
	shapes "github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/shapetest"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// world is the API over the real services and store. Its instances and turns
// move only when a test says so.
type world struct {
	t   *testing.T
	db  *store.DB
	url string
	*sagemaker.Client

	notCaptured string // why requests are not, "" if they are
}

func newWorld(t *testing.T) *world {
	t.Helper()
	opened, err := base.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	db := store.New(opened)
	w := &world{t: t, db: db}
	ctl := control.New(control.Config{
		Store: db, Notify: func() {},
		MissingAlarms: func(_ arn.Scope, names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "errors" })
		},
		CaptureStopped: func(context.Context, *traffic.Capture) string { return w.notCaptured },
	})
	h := api.NewHandler(ctl, slog.New(slog.NewTextHandler(t.Output(), nil)), nil, "ml.mine.large")
	srv := httptest.NewServer(signedFor(shapetest.Complete(t, shapes.API(), h)))
	t.Cleanup(func() {
		srv.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.url = srv.URL
	w.Client = w.in("us-east-1")
	return w
}

// in is a client that signs for a region.
func (w *world) in(region string) *sagemaker.Client {
	return sagemaker.New(sagemaker.Options{
		BaseEndpoint: &w.url, Region: region, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", ""),
	})
}

var credentialScope = regexp.MustCompile(`/([a-z0-9-]+)/sagemaker/aws4_request`)

// signedFor believes every caller: checking signatures is tested elsewhere.
func signedFor(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := access.Caller{AccessKeyID: "AKID", Account: scope.Account, Region: scope.Region}
		if m := credentialScope.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
			c.Region = m[1]
		}
		h.ServeHTTP(rw, r.WithContext(access.With(r.Context(), c)))
	})
}

// raw posts a body and returns the status and body of the answer.
func (w *world) raw(op, body string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "SageMaker."+op)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// model and config create what an endpoint needs.
func (w *world) model(name string) {
	w.t.Helper()
	_, err := w.CreateModel(w.t.Context(), &sagemaker.CreateModelInput{
		ModelName: &name, PrimaryContainer: &types.ContainerDefinition{
			Image: new("slipway/onnx"), ModelDataUrl: new("s3://b/" + name + ".tar.gz"),
		},
	})
	w.ok(err)
}

func (w *world) config(name, model string, instances int32) {
	w.t.Helper()
	_, err := w.CreateEndpointConfig(w.t.Context(), &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{variant("v", model, instances)},
	})
	w.ok(err)
}

func variant(name, model string, instances int32) types.ProductionVariant {
	return types.ProductionVariant{
		VariantName: &name, ModelName: &model, InitialInstanceCount: &instances, InstanceType: "ml.m5.large",
	}
}

// endpoint creates an endpoint e of configuration c of model m, and waits.
func (w *world) endpoint() {
	w.t.Helper()
	w.model("m")
	w.config("c", "m", 2)
	_, err := w.CreateEndpoint(
		w.t.Context(), &sagemaker.CreateEndpointInput{EndpointName: new("e"), EndpointConfigName: new("c")},
	)
	w.ok(err)
	w.settle("e")
}

func (w *world) describe(name string) *sagemaker.DescribeEndpointOutput {
	w.t.Helper()
	out, err := w.DescribeEndpoint(w.t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &name})
	w.ok(err)
	return out
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks the code, the status and the text of an error.
func (w *world) refused(err error, code, text string) {
	w.t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || e.ErrorMessage() != text {
		w.t.Errorf("got %v\nwant %s: %s", err, code, text)
	}
	var status interface{ HTTPStatusCode() int }
	if errors.As(err, &status) && status.HTTPStatusCode() != http.StatusBadRequest {
		w.t.Errorf("status %d", status.HTTPStatusCode())
	}
}

// settle brings up every wanted instance, removes every other, and takes turns
// until the endpoint is at rest or gone.
func (w *world) settle(name string) {
	w.t.Helper()
	ctx, now := w.t.Context(), time.Now().UTC().Truncate(time.Microsecond)
	d := deployer.Deployer{
		Evidence: &evidence.Source{Endpoints: w.db, Watch: evidence.NewWatch(nil)},
		Log:      slog.New(slog.DiscardHandler), Changed: func() {},
		Change: w.db.Change,
	}
	for range 50 {
		e, is, err := w.db.EndpointView(ctx, scope, name)
		if errors.Is(err, fault.NotFound) || err == nil && e.Deployment == nil && allReady(is) {
			return
		}
		w.ok(err)
		for n, i := range is {
			switch {
			case !i.Wanted:
				_, err := w.db.RemoveInstance(ctx, i.ID, now)
				w.ok(err)
			case i.Status != hosting.InstanceReady:
				_, err := w.db.ReportInstance(
					ctx,
					hosting.InstanceReport{
						ID: i.ID, Status: hosting.InstanceReady, Address: fmt.Sprintf("127.0.0.1:%d", n),
					},
					now,
				)
				w.ok(err)
			}
		}
		if e.Deployment != nil {
			_, err := d.Turn(ctx, string(e.Deployment.ID))
			w.ok(err)
		}
	}
	w.t.Fatal("the endpoint never came to rest")
}

func allReady(is []hosting.Instance) bool {
	for _, i := range is {
		if !i.Wanted || i.Status != hosting.InstanceReady {
			return false
		}
	}
	return true
}
