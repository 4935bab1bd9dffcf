package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/pgtest"
)

// running starts a server; end asks it to stop and waits for that.
func running(t *testing.T, cfg config.Config) (a *App, sdk aws.Config, end func() error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	a, err := New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- a.Run(ctx) }()
	end = sync.OnceValue(func() error {
		cancel()
		err := <-result
		a.Close()
		return err
	})
	t.Cleanup(func() { _ = end() }) // the test looks at what it wants to know
	key := a.keys.Default()
	return a, aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + a.Addr()), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
	}, end
}

// get asks for an open page.
func get(t *testing.T, a *App, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + a.Addr() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestADatabaseThatIsAwayIs503WithRetryAfterOnEveryAPI(t *testing.T) {
	server := pgtest.Start(t)
	cfg := inDirectory(t.TempDir())
	cfg.Database.URL = server.DSN
	a, sdk, _ := running(t, cfg)
	until(t, "the server is ready", func() bool { status, _ := get(t, a, "/readyz"); return status == 200 })
	server.Kill()
	for name, call := range map[string]func(context.Context) error{
		"SageMaker, a read": func(ctx context.Context) error {
			_, err := sagemaker.NewFromConfig(sdk).ListModels(ctx, nil)
			return err
		},
		"SageMaker, a write": func(ctx context.Context) error {
			in := &sagemaker.DeleteModelInput{ModelName: aws.String("m")}
			_, err := sagemaker.NewFromConfig(sdk).DeleteModel(ctx, in)
			return err
		},
		"CloudWatch": func(ctx context.Context) error {
			_, err := cloudwatch.NewFromConfig(sdk).PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{
				AlarmName: aws.String("a"), Namespace: aws.String("n"), MetricName: aws.String("m"),
				Statistic: cwtypes.StatisticSum, Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1),
				ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold, Threshold: aws.Float64(1),
			})
			return err
		},
		"IoT": func(ctx context.Context) error {
			_, err := iot.NewFromConfig(sdk).ListThings(ctx, nil)
			return err
		},
	} {
		e, ok := errors.AsType[*awshttp.ResponseError](call(t.Context()))
		if !ok || e.HTTPStatusCode() != 503 || e.Response.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
	if _, err := sts.NewFromConfig(sdk).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Errorf("what needs no database: %v", err)
	}
	until(t, "readiness names the database", func() bool {
		status, why := get(t, a, "/readyz")
		return status == 503 && strings.Contains(why, "database")
	})
	if status, _ := get(t, a, "/healthz"); status != 200 {
		t.Errorf("health: %d", status)
	}
}
