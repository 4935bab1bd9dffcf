package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
)

// fleetProvider does what the Terraform AWS provider does with
// aws_sagemaker_device_fleet and aws_sagemaker_device, with the same calls, and
// matches the same texts (edge spec §1.8, §9 flow 4).
type fleetProvider struct{ *edgeSDK }

// matches is how the provider recognises an error.
func matches(err error, text string) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && e.ErrorCode() == "ValidationException" && strings.Contains(e.ErrorMessage(), text)
}

// create retries for as long as the role may not be there yet, as the provider
// does.
func (p fleetProvider) create(in *sagemaker.CreateDeviceFleetInput) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := p.CreateDeviceFleet(p.t.Context(), in)
		if err == nil || !matches(err, "") || time.Now().After(deadline) {
			return err
		}
	}
}

// fleetState is what the provider keeps of a fleet.
type fleetState struct {
	arn, description, role, alias, output string
	tags                                  []string
}

// refresh is the provider's read; false means that the resource is gone.
func (p fleetProvider) refresh(name string) (s fleetState, ok bool) {
	p.t.Helper()
	out, err := p.DescribeDeviceFleet(p.t.Context(), &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: &name})
	if matches(err, "No devicefleet with name") {
		return s, false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	tags := must(p.ListTags(p.t.Context(), &sagemaker.ListTagsInput{ResourceArn: out.DeviceFleetArn}))(p.t)
	s = fleetState{
		arn: *out.DeviceFleetArn, description: aws.ToString(out.Description), role: aws.ToString(out.RoleArn),
		alias: aws.ToString(out.IotRoleAlias), output: *out.OutputConfig.S3OutputLocation,
	}
	for _, t := range tags.Tags {
		s.tags = append(s.tags, *t.Key+"="+*t.Value)
	}
	slices.Sort(s.tags)
	return s, true
}

// update sends what the provider sends: always the role, the output and the
// switch, the description only when it changed.
func (p fleetProvider) update(name string, description *string, alias bool) {
	p.t.Helper()
	must(p.UpdateDeviceFleet(p.t.Context(), &sagemaker.UpdateDeviceFleetInput{
		DeviceFleetName: &name, RoleArn: aws.String(edgeRole), EnableIotRoleAlias: &alias, Description: description,
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/captured")},
	}))(p.t)
}

// destroy reports whether the fleet was there.
func (p fleetProvider) destroy(name string) bool {
	p.t.Helper()
	_, err := p.DeleteDeviceFleet(p.t.Context(), &sagemaker.DeleteDeviceFleetInput{DeviceFleetName: &name})
	if matches(err, "DeviceFleet with name") {
		return false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return true
}

func newFleetProvider(t *testing.T) (fleetProvider, *server) {
	t.Helper()
	s := startServer(t)
	cfg, tap := s.tapped()
	return fleetProvider{&edgeSDK{sdk: s.sdk(), Client: sagemaker.NewFromConfig(cfg), tap: tap}}, s
}

func (p fleetProvider) wantFleet(when string, want fleetState) {
	p.t.Helper()
	got, ok := p.refresh("plant")
	if !ok || got.arn != want.arn || got.description != want.description || got.role != want.role ||
		got.alias != want.alias || got.output != want.output || !slices.Equal(got.tags, want.tags) {
		p.t.Errorf("%s: %+v, %v; want %+v", when, got, ok, want)
	}
}

func TestTerraformsDeviceFleetResource(t *testing.T) {
	p, s := newFleetProvider(t)
	in := fleetInput("plant")
	in.Description, in.EnableIotRoleAlias = aws.String("Line 1"), aws.Bool(false)
	in.Tags = []types.Tag{
		{Key: aws.String("key1"), Value: aws.String("value1")}, {Key: aws.String("empty"), Value: aws.String("")},
	}
	if err := p.create(in); err != nil {
		t.Fatal(err)
	}
	want := fleetState{
		arn: "arn:aws:sagemaker:us-east-1:123456789012:device-fleet/plant", description: "Line 1", role: edgeRole,
		output: "s3://" + edgeBucket + "/captured", tags: []string{"empty=", "key1=value1"},
	}
	before := len(p.tap.since(0))
	p.wantFleet("after the create", want)
	if got := p.tap.operations(before); !slices.Equal(got, []string{"DescribeDeviceFleet", "ListTags"}) {
		t.Errorf("a refresh calls %q", got)
	}

	// A duplicate must end the provider's wait for the role, and the SDK's own
	// retries.
	before = len(p.tap.since(0))
	typed[*types.ResourceInUse](t, "a second create", p.create(in))
	if got := p.tap.operations(before); len(got) != 1 {
		t.Errorf("a second create calls %q", got)
	}

	want.description = "Line 2"
	p.update("plant", aws.String("Line 2"), false)
	p.wantFleet("after an update of the description", want)
	want.alias = "arn:aws:iot:us-east-1:123456789012:rolealias/SageMakerEdge-plant"
	p.update("plant", nil, true)
	p.wantFleet("with the alias", want)
	want.alias = ""
	p.update("plant", nil, false)
	p.wantFleet("without the alias", want)

	// Tags change by calls of their own.
	must(p.DeleteTags(t.Context(), &sagemaker.DeleteTagsInput{ResourceArn: &want.arn, TagKeys: []string{"empty"}}))(t)
	must(
		p.AddTags(t.Context(), &sagemaker.AddTagsInput{ResourceArn: &want.arn, Tags: []types.Tag{
			{Key: aws.String("key1"), Value: aws.String("value1updated")},
			{Key: aws.String("key2"), Value: aws.String("value2")},
		}}),
	)(t)
	want.tags = []string{"key1=value1updated", "key2=value2"}
	p.wantFleet("after a change of tags", want)

	// An import is a refresh of a name. Gone out of band, it is planned anew.
	if !p.destroy("plant") || p.destroy("plant") {
		t.Error("a fleet is destroyed once")
	}
	if got, ok := p.refresh("plant"); ok {
		t.Errorf("after it was destroyed: %+v", got)
	}
	if err := p.create(in); err != nil {
		t.Errorf("created anew: %v", err)
	}
	s.stop()
}

// deviceResource is aws_sagemaker_device: one device to a resource.
type deviceResource struct {
	fleetProvider
	device types.Device
}

func (p *deviceResource) refresh() (*sagemaker.DescribeDeviceOutput, bool) {
	p.t.Helper()
	out, err := p.DescribeDevice(p.t.Context(), &sagemaker.DescribeDeviceInput{
		DeviceFleetName: aws.String("plant"), DeviceName: p.device.DeviceName,
	})
	if matches(err, "No device with name") || matches(err, "No device fleet with name") {
		return nil, false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return out, true
}

func (p *deviceResource) create() {
	p.t.Helper()
	must(
		p.RegisterDevices(p.t.Context(), &sagemaker.RegisterDevicesInput{
			DeviceFleetName: aws.String("plant"), Devices: []types.Device{p.device},
		}),
	)(p.t)
}

func (p *deviceResource) update() {
	p.t.Helper()
	must(
		p.UpdateDevices(p.t.Context(), &sagemaker.UpdateDevicesInput{
			DeviceFleetName: aws.String("plant"), Devices: []types.Device{p.device},
		}),
	)(p.t)
}

// destroy reports whether the device was there.
func (p *deviceResource) destroy() bool {
	p.t.Helper()
	_, err := p.DeregisterDevices(p.t.Context(), &sagemaker.DeregisterDevicesInput{
		DeviceFleetName: aws.String("plant"), DeviceNames: []string{*p.device.DeviceName},
	})
	if matches(err, "Device with name") || matches(err, "No device fleet with name") {
		return false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return true
}

func (p *deviceResource) want(when, description, thing string) {
	p.t.Helper()
	out, ok := p.refresh()
	if !ok ||
		aws.ToString(out.DeviceArn) != "arn:aws:sagemaker:us-east-1:123456789012:device-fleet/plant/device/cam-1" ||
		aws.ToString(out.Description) != description ||
		aws.ToString(out.IotThingName) != thing || *out.DeviceFleetName != "plant" || *out.DeviceName != "cam-1" ||
		out.AgentVersion != nil || out.LatestHeartbeat != nil {
		p.t.Errorf("%s: %+v, %v", when, out, ok)
	}
}

func TestTerraformsDeviceResource(t *testing.T) {
	fleets, s := newFleetProvider(t)
	in := fleetInput("plant")
	in.EnableIotRoleAlias = aws.Bool(false)
	if err := fleets.create(in); err != nil {
		t.Fatal(err)
	}
	p := &deviceResource{fleets, types.Device{DeviceName: aws.String("cam-1")}}
	p.create()
	p.want("after the create", "", "")
	p.device.Description = aws.String("Line 1")
	for range 2 {
		p.update()
		p.want("after the update", "Line 1", "")
	}
	p.device.IotThingName = aws.String("thing:1")
	p.update()
	p.want("with a thing", "Line 1", "thing:1")
	if !p.destroy() || p.destroy() {
		t.Error("a device is destroyed once")
	}
	if _, ok := p.refresh(); ok {
		t.Error("it is there after it was destroyed")
	}

	// The fleet disappears out of band, and the device with it.
	p.create()
	if !fleets.destroy("plant") {
		t.Error("the fleet was not there")
	}
	if _, ok := p.refresh(); ok || p.destroy() {
		t.Error("the device outlived its fleet")
	}
	s.stop()
}
