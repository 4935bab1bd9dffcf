package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/models"
)

// typedErrors checks that declared errors arrive as the SDK's own types, and
// undeclared ones with their code (edge spec §1.7).
func (c *edgeSDK) typedErrors() {
	c.t.Helper()
	t, ctx, nope := c.t, c.t.Context(), aws.String("nope")

	_, err := c.CreateDeviceFleet(ctx, fleetInput("plant"))
	typed[*types.ResourceInUse](t, "a fleet again", err)
	_, err = c.DeleteDeviceFleet(ctx, &sagemaker.DeleteDeviceFleetInput{DeviceFleetName: aws.String("plant")})
	typed[*types.ResourceInUse](t, "deleting a fleet in a stage", err)
	_, err = c.CreateEdgeDeploymentPlan(ctx, planInput("p-1"))
	refusedAs(t, "a plan again", err, "ResourceInUse", "")
	_, err = c.DeleteEdgeDeploymentPlan(
		ctx, &sagemaker.DeleteEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("p-1")},
	)
	typed[*types.ResourceInUse](t, "deleting a plan in a stage", err)
	_, err = c.DeleteEdgeDeploymentStage(ctx, &sagemaker.DeleteEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String("p-1"), StageName: aws.String("all"),
	})
	typed[*types.ResourceInUse](t, "deleting a stage under way", err)

	_, err = c.DescribeEdgeDeploymentPlan(ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: nope})
	typed[*types.ResourceNotFound](t, "a plan", err)
	_, err = c.DescribeEdgePackagingJob(ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: nope})
	typed[*types.ResourceNotFound](t, "a packaging job", err)
	_, err = c.DescribeCompilationJob(ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: nope})
	typed[*types.ResourceNotFound](t, "a compilation job", err)
	_, err = c.StopCompilationJob(ctx, &sagemaker.StopCompilationJobInput{CompilationJobName: nope})
	typed[*types.ResourceNotFound](t, "stopping a compilation job", err)
	_, err = c.DeleteCompilationJob(ctx, &sagemaker.DeleteCompilationJobInput{CompilationJobName: nope})
	typed[*types.ResourceNotFound](t, "deleting a compilation job", err)
	_, err = c.StartEdgeDeploymentStage(
		ctx, &sagemaker.StartEdgeDeploymentStageInput{EdgeDeploymentPlanName: aws.String("p-1"), StageName: nope},
	)
	refusedAs(t, "a stage", err, "ResourceNotFound", "Could not find stage 'nope' in edge deployment plan 'p-1'.")
	_, err = c.ListStageDevices(ctx, &sagemaker.ListStageDevicesInput{EdgeDeploymentPlanName: nope, StageName: nope})
	refusedAs(t, "the devices of a plan", err, "ResourceNotFound", "Could not find edge deployment plan 'nope'.")

	_, err = c.CreateEdgeDeploymentStage(ctx, &sagemaker.CreateEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String("p-2"), Stages: manyStages(10),
	})
	typed[*types.ResourceLimitExceeded](t, "an eleventh stage", err)
	_, err = c.CreateEdgeDeploymentPlan(ctx, planInput("p-9", manyStages(11)...))
	typed[*types.ResourceLimitExceeded](t, "eleven stages", err)
	_, err = c.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: aws.String("dash"), CompilationJobName: aws.String("digits-1-0"),
		ModelName: aws.String("digits"), ModelVersion: aws.String("1-0"), RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/packages")},
	})
	refusedAs(
		t, "a version with a hyphen", err, "ValidationException",
		"Value '1-0' at 'modelVersion' failed to satisfy constraint: Member must satisfy regular expression pattern: ",
	)
	_, err = c.DescribeDevice(
		ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: aws.String("plant"), DeviceName: aws.String("cam_1")},
	)
	refusedAs(t, "an underscore", err, "ValidationException", "at 'deviceName'")
}

func manyStages(n int) (stages []types.DeploymentStage) {
	for i := range n {
		stages = append(stages, percentStage(fmt.Sprint("s-", i), 10))
	}
	return stages
}

// stages pages over the stages of a plan, which have no paginator, and adds and
// deletes some.
func (c *edgeSDK) stages() {
	c.t.Helper()
	t, ctx := c.t, c.t.Context()
	must(
		c.CreateEdgeDeploymentStage(ctx, &sagemaker.CreateEdgeDeploymentStageInput{
			EdgeDeploymentPlanName: aws.String("p-3"), Stages: manyStages(9),
		}),
	)(t)
	in := &sagemaker.DescribeEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: aws.String("p-3"), MaxResults: aws.Int32(4),
	}
	var got []string
	pages := 0
	for {
		out := must(c.DescribeEdgeDeploymentPlan(ctx, in))(t)
		got = append(
			got, namesOf(out.Stages, func(s types.DeploymentStageStatusSummary) *string { return s.StageName })...,
		)
		pages++
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if pages != 3 || len(got) != 10 || got[0] != "all" || got[9] != "s-8" {
		t.Errorf("%d pages of %q", pages, got)
	}
	for _, n := range []int32{11, 101} {
		_, err := c.DescribeEdgeDeploymentPlan(
			ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("p-3"), MaxResults: &n},
		)
		refusedAs(
			t, "too many to a page", err, "ValidationException", "Member must have value less than or equal to 10",
		)
	}
	must(
		c.DeleteEdgeDeploymentStage(ctx, &sagemaker.DeleteEdgeDeploymentStageInput{
			EdgeDeploymentPlanName: aws.String("p-3"), StageName: aws.String("s-8"),
		}),
	)(t)
	if out := must(
		c.DescribeEdgeDeploymentPlan(
			ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: aws.String("p-3")},
		),
	)(t); len(out.Stages) != 9 {
		t.Errorf("after one is deleted there are %d stages", len(out.Stages))
	}
}

// What a stage chooses, across a restart of the server (edge spec §4.4, §10).
func TestStagesChooseDevicesAsTheGuideSays(t *testing.T) {
	s := startServer(t)
	c := &edgeSDK{sdk: s.sdk()}
	c.Client = c.sagemaker
	must(c.CreateDeviceFleet(t.Context(), fleetInput("plant")))(t)
	must(c.RegisterDevices(t.Context(), register("cam-1", "cam-2", "cam-3")))(t)
	c.pack("digits", "1.0", models.Archive("v1"))

	c.plan("few", percentStage("one", 1), percentStage("two", 34), percentStage("all", 100))
	dry := c.devices("few", "one", false)
	s.kill()
	s.restart()
	c.start("few", "one")
	if one := c.devices("few", "one", true); len(one) != 1 || !maps.Equal(one, dry) {
		t.Errorf("1 %% of 3 devices are %v; %v were announced before the restart", one, dry)
	}
	c.start("few", "two")
	if two := c.devices("few", "two", true); len(two) != 2 {
		t.Errorf("34 %% of 3 devices are %v", two)
	}
	_, err := c.StartEdgeDeploymentStage(t.Context(), &sagemaker.StartEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String("few"), StageName: aws.String("all"),
	})
	refusedAs(t, "what is left", err, "ValidationException", "")

	c.plan("both", selectionStage("a", "cam-1", "cam-2"), selectionStage("b", "cam-2", "cam-3"), selectionStage(
		"c", "cam-9",
	))
	c.start("both", "a")
	c.start("both", "b")
	if got := c.devices("both", "b", false); got["cam-2"] != "a" || got["cam-3"] != "b" || len(got) != 2 {
		t.Errorf("the devices of stage b, and who deploys to them: %v", got)
	}
	if got := c.devices("both", "b", true); len(got) != 1 || got["cam-3"] != "b" {
		t.Errorf("without those of other stages: %v", got)
	}
	_, err = c.StartEdgeDeploymentStage(t.Context(), &sagemaker.StartEdgeDeploymentStageInput{
		EdgeDeploymentPlanName: aws.String("both"), StageName: aws.String("c"),
	})
	refusedAs(t, "a device that is not there", err, "ValidationException", "cam-9")
	c.rivals()
	s.stop()
}

// devices are those of a stage, each with the stage that deploys to it.
func (c *edgeSDK) devices(plan, stage string, own bool) map[string]string {
	c.t.Helper()
	got := map[string]string{}
	eventually(c.t, 30*time.Second, "the devices of "+stage+" are chosen", func() bool {
		out := must(
			c.ListStageDevices(c.t.Context(), &sagemaker.ListStageDevicesInput{
				EdgeDeploymentPlanName: &plan, StageName: &stage, ExcludeDevicesDeployedInOtherStage: &own,
			}),
		)(c.t)
		for _, d := range out.DeviceDeploymentSummaries {
			got[*d.DeviceName] = aws.ToString(d.DeployedStageName)
		}
		return len(got) > 0 && c.status(plan, stage) != types.StageStatusStarting
	})
	for d := range got {
		if got[d] == "" {
			got[d] = stage // nothing deploys to it yet
		}
	}
	return got
}

func (c *edgeSDK) status(plan, stage string) types.StageStatus {
	c.t.Helper()
	out := must(
		c.DescribeEdgeDeploymentPlan(
			c.t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: &plan},
		),
	)(c.t)
	i := slices.IndexFunc(out.Stages, func(s types.DeploymentStageStatusSummary) bool { return *s.StageName == stage })
	return out.Stages[i].DeploymentStatus.StageStatus
}

// rivals starts two plans at once that want one handle of one device: one of
// them wins.
func (c *edgeSDK) rivals() {
	c.t.Helper()
	t, ctx := c.t, c.t.Context()
	errs := make([]error, 4)
	for i := range errs {
		in := planInput(fmt.Sprint("rival-", i), selectionStage("all", "cam-1"))
		in.ModelConfigs[0].ModelHandle = aws.String("wanted")
		must(c.CreateEdgeDeploymentPlan(ctx, in))(t)
	}
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = c.StartEdgeDeploymentStage(ctx, &sagemaker.StartEdgeDeploymentStageInput{
				EdgeDeploymentPlanName: aws.String(fmt.Sprint("rival-", i)), StageName: aws.String("all"),
			})
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			continue
		}
		if refusedAs(t, fmt.Sprint("rival ", i), err, "ValidationException", "cam-1"); !strings.Contains(
			err.Error(), "rival-",
		) {
			t.Errorf("it does not name the other plan: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d plans got the device: %v", won, len(errs), errs)
	}
}
