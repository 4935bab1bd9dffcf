package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"

	shapes "github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/shape/shapetest"
	"github.com/slipway-ml/slipway/models"
)

// wiretap is an SDK's HTTP client that notes each request and its answer.
type wiretap struct {
	t     testing.TB
	inner aws.HTTPClient
	mu    sync.Mutex
	calls []call
}

type call struct {
	operation string // or method and path
	status    int
	body      string
}

func (w *wiretap) Do(r *http.Request) (*http.Response, error) {
	resp, err := w.inner.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	resp.Body = io.NopCloser(bytes.NewReader(body))
	c := call{
		operation: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "SageMaker."), status: resp.StatusCode,
		body: string(body),
	}
	if c.operation == "" {
		c.operation = r.Method + " " + r.URL.Path
	}
	if c.status == http.StatusOK {
		shapetest.WantComplete(w.t, shapes.API(), c.operation, body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, c)
	return resp, err
}

// since returns the calls after the first n.
func (w *wiretap) since(n int) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls[n:])
}

func (w *wiretap) operations(n int) (names []string) {
	for _, c := range w.since(n) {
		names = append(names, c.operation)
	}
	return names
}

// tapped returns the SDK with the means to see what goes over the wire.
func (s *server) tapped() (aws.Config, *wiretap) {
	cfg := s.awsConfig()
	tap := &wiretap{t: s.t, inner: cfg.HTTPClient}
	cfg.HTTPClient = tap
	return cfg, tap
}

// refusedAs checks the code of an error and a part of its text.
func refusedAs(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != code ||
		!strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%s: got %v, want %s with %q", what, err, code, text)
	}
}

// typed checks that an error is the SDK's own type for a declared code.
func typed[E error](t testing.TB, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[E](err); !ok {
		t.Errorf("%s: got %v, want a %T", what, err, e)
	}
}

func fleetInput(name string) *sagemaker.CreateDeviceFleetInput {
	return &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: &name, RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/captured")},
	}
}

func register(names ...string) *sagemaker.RegisterDevicesInput {
	in := &sagemaker.RegisterDevicesInput{DeviceFleetName: aws.String("plant")}
	for _, n := range names {
		in.Devices = append(in.Devices, types.Device{DeviceName: aws.String(n)})
	}
	return in
}

func percentStage(name string, n int32) types.DeploymentStage {
	return types.DeploymentStage{StageName: &name, DeviceSelectionConfig: &types.DeviceSelectionConfig{
		DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: &n,
	}}
}

func selectionStage(name string, devices ...string) types.DeploymentStage {
	return types.DeploymentStage{StageName: &name, DeviceSelectionConfig: &types.DeviceSelectionConfig{
		DeviceSubsetType: types.DeviceSubsetTypeSelection, DeviceNames: devices,
	}}
}

// The SDK for Go on a fleet (edge spec §9, flow 8).
func TestTheGoSDKRunsAFleet(t *testing.T) {
	s := startServer(t)
	cfg, tap := s.tapped()
	c := &edgeSDK{sdk: s.sdk(), Client: sagemaker.NewFromConfig(cfg), tap: tap}
	for _, f := range []string{"plant", "quay", "yard"} {
		must(c.CreateDeviceFleet(t.Context(), fleetInput(f)))(t)
	}
	must(c.RegisterDevices(t.Context(), register("cam-1", "cam-2", "cam-3", "cam-4", "cam-5")))(t)
	c.pack("digits", "1.0", models.Archive("v1"))
	for i, v := range []string{"2.0", "3.0"} {
		name := fmt.Sprint("again-", i)
		must(c.CreateEdgePackagingJob(t.Context(), &sagemaker.CreateEdgePackagingJobInput{
			EdgePackagingJobName: &name, CompilationJobName: aws.String("digits-1-0"), ModelName: aws.String("digits"),
			ModelVersion: &v, RoleArn: aws.String(edgeRole),
			OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/packages")},
		}))(t)
		c.compile(name, models.Archive("v1"), types.FrameworkOnnx)
	}
	for _, p := range []string{"p-1", "p-2", "p-3"} {
		c.plan(p, percentStage("all", 100))
	}
	c.start("p-1", "all")
	eventually(t, time.Minute, "the devices are chosen", func() bool {
		return c.status("p-1", "all") == types.StageStatusInProgress
	})
	c.pages()
	c.stages()
	c.typedErrors()
	c.times()
	c.bodies()
	c.stop("p-1", "all")
	s.stop()
}

// edgeSDK is the SDK for the fleets' operations, watched.
type edgeSDK struct {
	*sdk
	*sagemaker.Client
	tap *wiretap
}

func (c *edgeSDK) plan(name string, stages ...types.DeploymentStage) {
	c.t.Helper()
	must(c.CreateEdgeDeploymentPlan(c.t.Context(), planInput(name, stages...)))(c.t)
}

func planInput(name string, stages ...types.DeploymentStage) *sagemaker.CreateEdgeDeploymentPlanInput {
	return &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: &name, DeviceFleetName: aws.String("plant"), Stages: stages,
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String("digits-" + name), EdgePackagingJobName: aws.String("digits-1-0")},
		},
	}
}

func (c *edgeSDK) start(plan, stage string) {
	c.t.Helper()
	must(
		c.StartEdgeDeploymentStage(
			c.t.Context(), &sagemaker.StartEdgeDeploymentStageInput{EdgeDeploymentPlanName: &plan, StageName: &stage},
		),
	)(c.t)
}

func (c *edgeSDK) stop(plan, stage string) {
	c.t.Helper()
	must(
		c.StopEdgeDeploymentStage(
			c.t.Context(), &sagemaker.StopEdgeDeploymentStageInput{EdgeDeploymentPlanName: &plan, StageName: &stage},
		),
	)(c.t)
}

// A pager is one of the SDK's paginators.
type pager[Out any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*sagemaker.Options)) (Out, error)
}

// walk reads every page and checks what is on them.
func walk[Out any](t testing.TB, what string, p pager[Out], names func(Out) []string, want []string, pages int) {
	t.Helper()
	var got []string
	n := 0
	for p.HasMorePages() {
		got = append(got, names(must(p.NextPage(t.Context()))(t))...)
		n++
	}
	if !slices.Equal(got, want) || n != pages {
		t.Errorf("%s: %d pages of %q, want %d of %q", what, n, got, pages, want)
	}
}

func namesOf[T any](all []T, name func(T) *string) (names []string) {
	for _, x := range all {
		names = append(names, *name(x))
	}
	return names
}

// pages reads every list by the SDK's paginators.
func (c *edgeSDK) pages() {
	c.t.Helper()
	t, two := c.t, aws.Int32(2)
	{
		p := sagemaker.NewListDeviceFleetsPaginator(c, &sagemaker.ListDeviceFleetsInput{
			MaxResults: two, SortBy: types.ListDeviceFleetsSortByName, SortOrder: types.SortOrderAscending,
		})
		walk(t, "fleets", p, func(o *sagemaker.ListDeviceFleetsOutput) []string {
			return namesOf(
				o.DeviceFleetSummaries, func(x types.DeviceFleetSummary) *string { return x.DeviceFleetName },
			)
		}, []string{"plant", "quay", "yard"}, 2)
	}
	{
		p := sagemaker.NewListDevicesPaginator(
			c, &sagemaker.ListDevicesInput{MaxResults: two, DeviceFleetName: aws.String("plant")},
		)
		walk(t, "devices", p, func(o *sagemaker.ListDevicesOutput) []string {
			return namesOf(o.DeviceSummaries, func(x types.DeviceSummary) *string { return x.DeviceName })
		}, []string{"cam-1", "cam-2", "cam-3", "cam-4", "cam-5"}, 3)
	}
	{
		p := sagemaker.NewListEdgeDeploymentPlansPaginator(c, &sagemaker.ListEdgeDeploymentPlansInput{
			MaxResults: two, SortBy: types.ListEdgeDeploymentPlansSortByName, SortOrder: types.SortOrderDescending,
		})
		walk(t, "plans", p, func(o *sagemaker.ListEdgeDeploymentPlansOutput) []string {
			return namesOf(o.EdgeDeploymentPlanSummaries, func(x types.EdgeDeploymentPlanSummary) *string {
				return x.EdgeDeploymentPlanName
			})
		}, []string{"p-3", "p-2", "p-1"}, 2)
	}
	{
		p := sagemaker.NewListEdgePackagingJobsPaginator(c, &sagemaker.ListEdgePackagingJobsInput{
			MaxResults: two, SortBy: types.ListEdgePackagingJobsSortByName, SortOrder: types.SortOrderAscending,
		})
		walk(t, "packaging jobs", p, func(o *sagemaker.ListEdgePackagingJobsOutput) []string {
			return namesOf(o.EdgePackagingJobSummaries, func(x types.EdgePackagingJobSummary) *string {
				return x.EdgePackagingJobName
			})
		}, []string{"again-0", "again-1", "digits-1-0"}, 2)
	}
	{
		p := sagemaker.NewListCompilationJobsPaginator(
			c, &sagemaker.ListCompilationJobsInput{MaxResults: two, SortBy: types.ListCompilationJobsSortByName},
		)
		walk(t, "compilation jobs", p, func(o *sagemaker.ListCompilationJobsOutput) []string {
			return namesOf(
				o.CompilationJobSummaries, func(x types.CompilationJobSummary) *string { return x.CompilationJobName },
			)
		}, []string{"again-0", "again-1", "digits-1-0"}, 2)
	}
	{
		p := sagemaker.NewListStageDevicesPaginator(c, &sagemaker.ListStageDevicesInput{
			MaxResults: two, EdgeDeploymentPlanName: aws.String("p-1"), StageName: aws.String("all"),
		})
		walk(t, "devices of a stage", p, func(o *sagemaker.ListStageDevicesOutput) []string {
			return namesOf(
				o.DeviceDeploymentSummaries, func(x types.DeviceDeploymentSummary) *string { return x.DeviceName },
			)
		}, []string{"cam-1", "cam-2", "cam-3", "cam-4", "cam-5"}, 3)
	}
	first := must(
		c.ListDevices(t.Context(), &sagemaker.ListDevicesInput{MaxResults: two, DeviceFleetName: aws.String("plant")}),
	)(t)
	_, err := c.ListDevices(t.Context(), &sagemaker.ListDevicesInput{MaxResults: two, NextToken: first.NextToken})
	refusedAs(t, "a token of another filter", err, "ValidationException", "")
}

// times checks that moments keep their fractions, both ways.
func (c *edgeSDK) times() {
	c.t.Helper()
	t := c.t
	before := time.Now()
	for _, f := range []string{"early", "late"} {
		must(c.CreateDeviceFleet(t.Context(), fleetInput(f)))(t)
		time.Sleep(3 * time.Millisecond) // two milliseconds must not be one
	}
	early := must(
		c.DescribeDeviceFleet(t.Context(), &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: aws.String("early")}),
	)(t)
	if d := early.CreationTime.Sub(before); d < -time.Millisecond || d > time.Minute ||
		!early.CreationTime.Equal(*early.LastModifiedTime) {
		t.Errorf(
			"created at %v and modified at %v, %v after it was asked for", early.CreationTime, early.LastModifiedTime,
			d,
		)
	}
	after := must(
		c.ListDeviceFleets(t.Context(), &sagemaker.ListDeviceFleetsInput{
			CreationTimeAfter: aws.Time(early.CreationTime.Add(time.Millisecond)),
		}),
	)(t)
	if got := namesOf(
		after.DeviceFleetSummaries, func(x types.DeviceFleetSummary) *string { return x.DeviceFleetName },
	); !slices.Equal(got, []string{"late"}) {
		t.Errorf("created after the first of the two: %q", got)
	}
}

// bodies checks that what answers nothing answers nothing.
func (c *edgeSDK) bodies() {
	c.t.Helper()
	t := c.t
	must(
		c.UpdateDevices(t.Context(), &sagemaker.UpdateDevicesInput{
			DeviceFleetName: aws.String("plant"),
			Devices:         []types.Device{{DeviceName: aws.String("cam-5"), Description: aws.String("Line 5")}},
		}),
	)(t)
	must(
		c.DeregisterDevices(t.Context(), &sagemaker.DeregisterDevicesInput{
			DeviceFleetName: aws.String("plant"), DeviceNames: []string{"cam-5"},
		}),
	)(t)
	must(c.DeleteDeviceFleet(t.Context(), &sagemaker.DeleteDeviceFleetInput{DeviceFleetName: aws.String("late")}))(t)
	must(
		c.DeleteEdgeDeploymentPlan(
			t.Context(), &sagemaker.DeleteEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("p-3")},
		),
	)(t)
	must(
		c.DeleteCompilationJob(
			t.Context(), &sagemaker.DeleteCompilationJobInput{CompilationJobName: aws.String("again-0")},
		),
	)(t)
	must(
		c.StopEdgePackagingJob(
			t.Context(), &sagemaker.StopEdgePackagingJobInput{EdgePackagingJobName: aws.String("digits-1-0")},
		),
	)(t)
	silent := map[string]bool{
		"CreateDeviceFleet": true, "RegisterDevices": true, "UpdateDevices": true, "DeregisterDevices": true,
		"DeleteDeviceFleet": true, "CreateEdgePackagingJob": true,
		"StopEdgePackagingJob": true, "CreateEdgeDeploymentStage": true, "StartEdgeDeploymentStage": true,
		"DeleteEdgeDeploymentPlan": true, "DeleteEdgeDeploymentStage": true, "DeleteCompilationJob": true,
	}
	seen := map[string]bool{}
	for _, call := range c.tap.since(0) {
		if call.status == http.StatusOK && silent[call.operation] {
			seen[call.operation] = true
			if call.body != "" {
				t.Errorf("%s answered %q", call.operation, call.body)
			}
		}
		if strings.Contains(call.body, ":null") {
			t.Errorf("%s answered with null: %s", call.operation, call.body)
		}
	}
	for name := range silent {
		if !seen[name] {
			t.Errorf("%s was not called", name)
		}
	}
}
