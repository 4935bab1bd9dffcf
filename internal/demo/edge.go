package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/models"
)

// devices are the cameras of the demo's plant.
func devices() []string { return []string{"cam-1", "cam-2", "cam-3"} }

// goldens is how many images every device tries a new model on.
const goldens = 24

// edge shows the other half: the same models go to three devices in stages.
func (d *show) edge(ctx context.Context) (err error) {
	d.head("The same models go to a fleet of devices")
	if err := d.packages(ctx); err != nil {
		return err
	}
	agents, err := d.plant(ctx)
	defer func() {
		for _, a := range agents {
			err = errors.Join(err, a.stop())
		}
	}()
	if err != nil {
		return err
	}
	if err := d.plan(ctx, "v1", everyone("all")); err != nil {
		return err
	}
	began := time.Now()
	end, err := d.carryOut(ctx, "v1", "all")
	if err != nil {
		return err
	}
	d.done("install", fmt.Sprintf("v1 on %d devices", aws.ToInt32(end.EdgeDeploymentSuccessInStage)), time.Since(began))
	images, labels := models.TestSet()
	for _, a := range agents {
		if err := a.awaitModel(ctx, images[0]); err != nil {
			return err
		}
	}
	d.note("now an application predicts on every device, 100 times a second, through the agent's socket")
	app := startApplication(ctx, agents, images, labels)
	err = d.stages(ctx, app)
	app.finish()
	if err != nil {
		return err
	}
	d.check(app.lost == 0, "no prediction was lost on any device: %d lost", app.lost)
	if app.firstLost != nil {
		d.note("the first that was lost: " + app.firstLost.Error())
	}
	return nil
}

// packages compiles, packages and signs every version, each with golden inputs.
func (d *show) packages(ctx context.Context) error {
	began := time.Now()
	if err := d.makeBucket(ctx, edgeBucket); err != nil {
		return err
	}
	images, labels := d.sure()
	text, err := golden(images, labels)
	if err != nil {
		return err
	}
	for _, v := range []string{"v1", "v2", broken} {
		archive, err := models.Pack(map[string][]byte{"model.onnx": models.Model(v), "golden.json": text})
		if err == nil {
			err = d.pack(ctx, v, archive)
		}
		if err != nil {
			return err
		}
	}
	d.done(
		"package", fmt.Sprintf("three versions compiled, packaged with %d golden inputs, and signed", len(images)),
		time.Since(began),
	)
	return nil
}

// sure returns images that v1 and v2 both read right on the endpoint.
func (d *show) sure() (images [][]float32, labels []int) {
	t := d.traffic
	one, two := t.models["v1"], t.models["v2"]
	for i, l := range t.labels {
		if len(images) < goldens && one != nil && two != nil && one.read[i] == l && two.read[i] == l {
			images, labels = append(images, t.images[i]), append(labels, l)
		}
	}
	return images, labels
}

// plant makes the fleet, enrolls its devices and starts their agents.
func (d *show) plant(ctx context.Context) (agents []*agent, err error) {
	began := time.Now()
	_, err = d.sagemaker.CreateDeviceFleet(ctx, &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: aws.String(fleetName), RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/captured")},
	})
	if err != nil {
		return nil, err
	}
	for _, name := range devices() {
		a, err := d.enroll(ctx, d.dir, name)
		if err != nil {
			return agents, err
		}
		agents = append(agents, a)
	}
	d.done(
		"enroll", fmt.Sprintf("%d devices, each with a certificate and an agent of its own", len(agents)),
		time.Since(began),
	)
	return agents, nil
}

// stages rolls out the better version in two stages, and then tries the broken
// one on one device.
func (d *show) stages(ctx context.Context, app *application) error {
	if err := settle(ctx); err != nil {
		return err
	}
	_, before, _ := share(app)
	if err := d.plan(ctx, "v2", byName("canary", devices()[0]), everyone("rest")); err != nil {
		return err
	}
	for _, stage := range []string{"canary", "rest"} {
		began := time.Now()
		end, err := d.carryOut(ctx, "v2", stage)
		if err != nil {
			return err
		}
		d.done(
			stage,
			fmt.Sprintf(
				"v2: %d of the devices took it, %d failed", aws.ToInt32(end.EdgeDeploymentSuccessInStage),
				aws.ToInt32(end.EdgeDeploymentFailedInStage),
			),
			time.Since(began),
		)
	}
	sent, _, slowest := share(app)
	d.check(true, "%d predictions while v2 was rolled out; the slowest took %.0f ms", sent, slowest.Seconds()*1000)
	if err := settle(ctx); err != nil {
		return err
	}
	_, after, _ := share(app)
	d.check(after > before, "the devices read better: %.1f %% of digits right, up from %.1f %%", 100*after, 100*before)
	if err := d.refused(ctx); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	_, still, _ := share(app)
	d.check(still > before, "v2 is what answers on every device: %.1f %% right", 100*still)
	return nil
}

// settle lets the application predict for a second.
func settle(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func share(app *application) (sent int, right float64, slowest time.Duration) {
	sent, n, slowest := app.tally()
	return sent, float64(n) / float64(max(1, sent)), slowest
}

// refused deploys the version that fails its golden inputs.
func (d *show) refused(ctx context.Context) error {
	if err := d.plan(ctx, broken, byName("canary", devices()[1])); err != nil {
		return err
	}
	began := time.Now()
	end, err := d.carryOut(ctx, broken, "canary")
	if err != nil {
		return err
	}
	d.check(
		end.StageStatus == types.StageStatusFailed && aws.ToInt32(end.EdgeDeploymentFailedInStage) == 1,
		"the stage of v3 failed after %.1f s: %s", time.Since(began).Seconds(),
		aws.ToString(end.EdgeDeploymentStatusMessage),
	)
	out, err := d.sagemaker.ListStageDevices(ctx, &sagemaker.ListStageDevicesInput{
		EdgeDeploymentPlanName: aws.String(configOf(broken)), StageName: aws.String("canary"),
	})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(out.DeviceDeploymentSummaries, func(s types.DeviceDeploymentSummary) bool {
		return aws.ToString(s.DeviceName) == devices()[1]
	})
	why := ""
	if i >= 0 {
		why = aws.ToString(out.DeviceDeploymentSummaries[i].DeviceDeploymentStatusMessage)
	}
	d.check(strings.Contains(why, "rolled back"), "%s says why: %s", devices()[1], short(why, 150))
	return nil
}
