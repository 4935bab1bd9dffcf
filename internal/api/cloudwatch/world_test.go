package cloudwatch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	api "github.com/slipway-ml/slipway/internal/api/cloudwatch"
	"github.com/slipway-ml/slipway/internal/platform/store"
	storealarms "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	storemetrics "github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

const account = "123456789012"

// world is the API over the real service and store, behind the gateway. Its
// embedded client is the SDK for Go, which speaks CBOR.
type world struct {
	*cloudwatch.Client
	t   *testing.T
	url string
	key sigv4.Key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), account)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ms, err := metrics.New(t.Context(), metrics.Config{Store: storemetrics.New(db), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	as, err := alarms.New(t.Context(), alarms.Config{
		Store: storealarms.New(db), Metrics: ms, Account: account, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { ms.Run(ctx) })
	running.Go(func() { as.Run(ctx) })
	srv := httptest.NewServer(gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: account, Region: "us-east-1", Log: log,
		CloudWatch: api.NewHandler(as, ms, log),
	}))
	t.Cleanup(func() {
		srv.Close()
		cancel()
		running.Wait()
		if err := errors.Join(ms.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, url: srv.URL, key: keys.Default()}
	w.Client = w.in("us-east-1")
	return w
}

// in is a client that signs for a region.
func (w *world) in(region string) *cloudwatch.Client {
	return cloudwatch.New(cloudwatch.Options{
		BaseEndpoint: &w.url, Region: region, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(w.key.ID, w.key.Secret, ""),
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused checks the code (of the Query protocol, which the SDK shows), the
// status and a part of the text of an error.
func (w *world) refused(err error, status int, code, text string) {
	w.t.Helper()
	e, ok := errors.AsType[interface {
		error
		ErrorCode() string
		ErrorMessage() string
	}](err)
	if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		w.t.Errorf("got %v\nwant %s: %s", err, code, text)
		return
	}
	if r, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); !ok || r.HTTPStatusCode() != status {
		w.t.Errorf("the status of %v is not %d", err, status)
	}
}

// watching returns an alarm on the Maximum of Shop/Orders being at least 1 in a
// period of a second, changed as the test likes.
func watching(name string, change ...func(*cloudwatch.PutMetricAlarmInput)) *cloudwatch.PutMetricAlarmInput {
	in := &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, Namespace: aws.String("Shop"), MetricName: aws.String("Orders"),
		Statistic: types.StatisticMaximum,
		Period:    aws.Int32(1), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1),
		ComparisonOperator: types.ComparisonOperatorGreaterThanOrEqualToThreshold,
		TreatMissingData:   aws.String("notBreaching"),
	}
	for _, c := range change {
		c(in)
	}
	return in
}

func (w *world) put(in *cloudwatch.PutMetricAlarmInput) {
	w.t.Helper()
	_, err := w.PutMetricAlarm(w.t.Context(), in)
	w.ok(err)
}

func (w *world) compose(name, rule string) {
	w.t.Helper()
	_, err := w.PutCompositeAlarm(w.t.Context(), &cloudwatch.PutCompositeAlarmInput{AlarmName: &name, AlarmRule: &rule})
	w.ok(err)
}

func (w *world) sample(name string, values ...float64) {
	w.t.Helper()
	_, err := w.PutMetricData(w.t.Context(), &cloudwatch.PutMetricDataInput{
		Namespace: aws.String("Shop"), MetricData: []types.MetricDatum{{MetricName: &name, Values: values}},
	})
	w.ok(err)
}

func (w *world) describe(in *cloudwatch.DescribeAlarmsInput) *cloudwatch.DescribeAlarmsOutput {
	w.t.Helper()
	out, err := w.DescribeAlarms(w.t.Context(), in)
	w.ok(err)
	return out
}

// alarm describes the metric alarm of that name.
func (w *world) alarm(name string) types.MetricAlarm {
	w.t.Helper()
	out := w.describe(&cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}})
	if len(out.MetricAlarms) != 1 {
		w.t.Fatalf("%d alarms are named %s", len(out.MetricAlarms), name)
	}
	return out.MetricAlarms[0]
}

// await waits until the alarm is in a state.
func (w *world) await(name string, want types.StateValue) types.MetricAlarm {
	w.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; {
		a := w.alarm(name)
		if a.StateValue == want {
			return a
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is %s, want %s: %s", name, a.StateValue, want, aws.ToString(a.StateReason))
		}
		select {
		case <-w.t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// raw posts a form in the Query protocol and returns the status and the answer.
func (w *world) raw(form string) (int, string) {
	w.t.Helper()
	ctx := w.t.Context()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/", strings.NewReader(form))
	w.ok(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	sum := sha256.Sum256([]byte(form))
	who := aws.Credentials{AccessKeyID: w.key.ID, SecretAccessKey: w.key.Secret}
	w.ok(v4.NewSigner().SignHTTP(ctx, who, r, hex.EncodeToString(sum[:]), "monitoring", "us-east-1", time.Now()))
	res, err := http.DefaultClient.Do(r)
	w.ok(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.ok(err)
	return res.StatusCode, string(b)
}
