package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/store"
	endpoints "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// account and region of the servers that are measured.
const (
	benchAccount = "000000000000"
	benchRegion  = "us-east-1"
	benchImage   = "bench/model"
)

// benchControl measures the control plane on real servers: how long an
// endpoint takes to come up, what Describe and List cost among many, what an
// idle server needs, and what many endpoints cost.
func benchControl(ctx context.Context, _ options) error {
	out := os.Stdout
	dir, bins, err := buildPrograms(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	type measurement func(ctx context.Context, out io.Writer, dir string, bins map[string]string) error
	for _, part := range []measurement{startup, describeAndList, manyEndpoints} {
		if err := part(ctx, out, dir, bins); err != nil {
			return err
		}
	}
	return nil
}

// buildPrograms builds what the benchmarks of whole servers run, in a temporary
// directory.
func buildPrograms(ctx context.Context) (dir string, bins map[string]string, err error) {
	if dir, err = os.MkdirTemp("", "slipway-bench-"); err != nil {
		return "", nil, err
	}
	bins = map[string]string{"slipway": "./cmd/slipway", "testmodel": "./internal/platform/provider/testmodel"}
	for name, pkg := range bins {
		bins[name] = filepath.Join(dir, name)
		build := exec.CommandContext(ctx, "go", "build", "-o", bins[name], pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := build.CombinedOutput(); err != nil {
			return dir, nil, fmt.Errorf("build %s: %w\n%s", pkg, err, msg)
		}
	}
	return dir, bins, nil
}

// startup prints the idle memory of a server and the time from CreateEndpoint
// to InService of an instance whose model loads in 10 ms.
func startup(ctx context.Context, out io.Writer, dir string, bins map[string]string) error {
	s, err := startBenchServer(ctx, filepath.Join(dir, "startup"), bins)
	if err != nil {
		return err
	}
	defer s.stop()
	time.Sleep(2 * time.Second) // idle: what the start needed is given back
	fmt.Fprintf(out, "server idle: RSS %.1f MiB (aim <= 60)\n", rss(s.cmd.Process.Pid))
	if err := s.model(ctx, "10"); err != nil {
		return err
	}
	var took []time.Duration
	for i := range 20 {
		begun := time.Now()
		if err := s.endpoint(ctx, fmt.Sprintf("e%d", i)); err != nil {
			return err
		}
		if err := s.inService(ctx, fmt.Sprintf("e%d", i)); err != nil {
			return err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	fmt.Fprintf(out, "CreateEndpoint to InService, model loads in 10 ms, 20 times: median %s, max %s (aim <= 500ms)\n",
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	for i := range 20 {
		in := &sagemaker.DeleteEndpointInput{EndpointName: aws.String(fmt.Sprintf("e%d", i))}
		if _, err := s.api.DeleteEndpoint(ctx, in); err != nil {
			return err
		}
	}
	return s.empty(ctx)
}

// describeAndList prints percentiles of both with 10,000 endpoints stored.
func describeAndList(ctx context.Context, out io.Writer, dir string, bins map[string]string) error {
	const stored, calls = 10_000, 2_000
	data := filepath.Join(dir, "many")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := fill(ctx, filepath.Join(data, "slipway.db"), stored); err != nil {
		return err
	}
	s, err := startBenchServer(ctx, data, bins)
	if err != nil {
		return err
	}
	defer s.stop()
	describe := func(i int) error {
		_, err := s.api.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{
			EndpointName: aws.String(fmt.Sprintf("endpoint-%05d", i*7919%stored)),
		})
		return err
	}
	var token *string
	list := func(int) error {
		in := &sagemaker.ListEndpointsInput{MaxResults: aws.Int32(100), NextToken: token}
		page, err := s.api.ListEndpoints(ctx, in)
		if err == nil {
			token = page.NextToken
		}
		return err
	}
	search := func(i int) error {
		_, err := s.api.ListEndpoints(ctx, &sagemaker.ListEndpointsInput{
			NameContains: aws.String(strconv.Itoa(10000 + i)[1:]), SortBy: types.EndpointSortKeyName,
		})
		return err
	}
	for _, c := range []struct {
		name string
		call func(int) error
		n    int
	}{
		{"DescribeEndpoint", describe, calls},
		{"ListEndpoints, pages of 100", list, calls},
		{"ListEndpoints by NameContains and Name", search, calls / 4},
	} {
		var took []time.Duration
		for i := range c.n {
			begun := time.Now()
			if err := c.call(i); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		fmt.Fprintf(out, "%s, %d endpoints stored, seen by the Go SDK: p50 %s, p99 %s (aim: p99 <= 5ms)\n",
			c.name, stored,
			took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
	}
	fmt.Fprintf(out, "server with %d stored endpoints: RSS %.1f MiB\n", stored, rss(s.cmd.Process.Pid))
	return nil
}

// fill stores endpoints that are in service by their rows alone: reading them
// costs the same, and nothing has to run.
func fill(ctx context.Context, file string, n int) (err error) {
	db, err := store.OpenSQLite(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	scope := arn.Scope{Region: benchRegion, Account: benchAccount}
	for base := 0; base < n; base += 500 {
		err := endpoints.New(db).Change(ctx, func(tx endpoints.Tx) error {
			for i := base; i < min(base+500, n); i++ {
				at := time.Unix(1_700_000_000+int64(i), 0).UTC()
				e := &hosting.Endpoint{
					ID: hosting.EndpointID(fmt.Sprintf("e-%05d", i)), Scope: scope,
					Name:   fmt.Sprintf("endpoint-%05d", i),
					Status: hosting.InService, ConfigName: "c", Created: at, Modified: at,
					Fleet: &hosting.Fleet{
						ID: hosting.FleetID(fmt.Sprintf("f-%05d", i)), ConfigName: "c", ConfigDoc: []byte(`{}`),
						Variants: []hosting.FleetVariant{{Variant: hosting.Variant{Name: "a"}}},
					},
					Weights: []hosting.Weight{{Variant: "a", Current: 1, Desired: 1}},
				}
				if err := tx.Write(ctx, outcome.OfCreation(e)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// manyEndpoints prints what 1,000 endpoints with one cheap instance each cost.
func manyEndpoints(ctx context.Context, out io.Writer, dir string, bins map[string]string) error {
	const n = 1000
	s, err := startBenchServer(ctx, filepath.Join(dir, "thousand"), bins)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.model(ctx, "0"); err != nil {
		return err
	}
	begun := time.Now()
	for i := range n {
		if err := s.endpoint(ctx, fmt.Sprintf("e%d", i)); err != nil {
			return err
		}
	}
	accepted := time.Since(begun)
	for i := range n {
		if err := s.inService(ctx, fmt.Sprintf("e%d", i)); err != nil {
			return err
		}
	}
	all := time.Since(begun)
	before := cpu(s.cmd.Process.Pid)
	time.Sleep(10 * time.Second)
	used := cpu(s.cmd.Process.Pid) - before
	fmt.Fprintf(out, "%d endpoints with one instance each: accepted in %s, all InService in %s; server RSS %.1f MiB, "+
		"%.1f%% of one core when idle\n",
		n, accepted.Round(time.Millisecond), all.Round(time.Millisecond), rss(s.cmd.Process.Pid), used.Seconds()*10)
	begun = time.Now()
	for i := range n {
		in := &sagemaker.DeleteEndpointInput{EndpointName: aws.String(fmt.Sprintf("e%d", i))}
		if _, err := s.api.DeleteEndpoint(ctx, in); err != nil {
			return err
		}
	}
	if err := s.empty(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d endpoints deleted in %s\n", n, time.Since(begun).Round(time.Millisecond))
	return nil
}

// benchServer is a `slipway server` process.
type benchServer struct {
	cmd *exec.Cmd
	url string
	aws aws.Config
	api *sagemaker.Client
}

func startBenchServer(ctx context.Context, data string, bins map[string]string) (*benchServer, error) {
	return startServer(ctx, data, bins, "listen: 127.0.0.1:0\nlog: {level: warn}\n", os.Stderr)
}

// startServer starts a server with settings of its configuration besides.
func startServer(
	ctx context.Context, data string, bins map[string]string, settings string, stderr *os.File,
) (*benchServer, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	cfg := filepath.Join(data, "slipway.yaml")
	text := fmt.Sprintf("dataDir: %s\nimages:\n  %s: {command: [%q], environment: [TESTMODEL_*]}\n",
		data, benchImage, bins["testmodel"]) + settings
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s := &benchServer{cmd: exec.CommandContext(ctx, bins["slipway"], "server", "--config", cfg)}
	s.cmd.Stderr = stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		addr, err := os.ReadFile(filepath.Join(data, "address"))
		if err != nil {
			continue
		}
		s.url = "http://" + strings.TrimSpace(string(addr))
		res, err := http.Get(s.url + "/readyz")
		if err != nil {
			continue
		}
		_ = res.Body.Close() // only the status matters
		if res.StatusCode == http.StatusOK {
			c, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(benchRegion),
				awsconfig.WithSharedConfigProfile("default"),
				awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(data, "credentials")}),
				awsconfig.WithSharedConfigFiles([]string{}), awsconfig.WithBaseEndpoint(s.url))
			if err != nil {
				return nil, err
			}
			c.HTTPClient = plainBody{}
			s.aws, s.api = c, sagemaker.NewFromConfig(c)
			return s, nil
		}
	}
	s.stop()
	return nil, fmt.Errorf("the server in %s was not ready within 30 s", data)
}

// plainBody sends requests whose body can only be read. The SDK's own body
// (smithy-go v1.28.8) answers WriteTo with io.EOF once it is closed, which it
// is as soon as the response begins; when that is before the transport has
// looked for more to send, the transport drops the connection and the SDK
// repeats the call after a second. Servers that are far away never see it.
type plainBody struct{}

func (plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}

// address is where the server listens.
func (s *benchServer) address() string { return strings.TrimPrefix(s.url, "http://") }

func (s *benchServer) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = s.cmd.Wait()                       // how does not matter
}

// model creates a model and a configuration "c" of one instance.
func (s *benchServer) model(ctx context.Context, loadMS string) error {
	_, err := s.api.CreateModel(ctx, &sagemaker.CreateModelInput{
		ModelName: aws.String("m"),
		PrimaryContainer: &types.ContainerDefinition{
			Image: aws.String(benchImage), Environment: map[string]string{"TESTMODEL_LOAD_MS": loadMS},
		},
	})
	if err != nil {
		return err
	}
	_, err = s.api.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: aws.String("c"),
		ProductionVariants: []types.ProductionVariant{{
			VariantName: aws.String("a"), ModelName: aws.String("m"),
			InstanceType: types.ProductionVariantInstanceTypeMlM5Large, InitialInstanceCount: aws.Int32(1),
		}},
	})
	return err
}

func (s *benchServer) endpoint(ctx context.Context, name string) error {
	_, err := s.api.CreateEndpoint(
		ctx, &sagemaker.CreateEndpointInput{EndpointName: aws.String(name), EndpointConfigName: aws.String("c")},
	)
	return err
}

func (s *benchServer) inService(ctx context.Context, name string) error {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		e, err := s.api.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: aws.String(name)})
		switch {
		case err != nil:
			return err
		case e.EndpointStatus == types.EndpointStatusInService:
			return nil
		case e.EndpointStatus == types.EndpointStatusFailed:
			return fmt.Errorf("endpoint %s failed: %s", name, aws.ToString(e.FailureReason))
		}
	}
	return fmt.Errorf("endpoint %s was not in service within 5 minutes", name)
}

// empty waits until no endpoint is left.
func (s *benchServer) empty(ctx context.Context) error {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		page, err := s.api.ListEndpoints(ctx, &sagemaker.ListEndpointsInput{})
		if err != nil || len(page.Endpoints) == 0 {
			return err
		}
	}
	return fmt.Errorf("endpoints are left after 5 minutes")
}

// rss returns the resident memory of a process in MiB, peak the most it ever was.
func rss(pid int) float64  { return float64(child.Memory(pid, "VmRSS")) / (1 << 20) }
func peak(pid int) float64 { return float64(child.Memory(pid, "VmHWM")) / (1 << 20) }

// cpu returns the processor time that a process has used.
func cpu(pid int) time.Duration {
	s, _ := child.ReadStat(pid) // one that has ended reads as 0
	return s.CPU
}
