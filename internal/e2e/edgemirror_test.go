package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
	"github.com/slipway-ml/slipway/models"
)

// traffic asks the device by both kinds of socket, one image after the other, until
// it is stopped; no call may fail.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	failed chan error
}

func (f *field) traffic() *traffic {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	tr := &traffic{cancel: cancel, failed: make(chan error, 2)}
	socket := filepath.Join(f.dir, "agent.sock")
	conn := must(grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials())))(f.t)
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	images, _ := models.TestSet()
	ask := func(from int, do func(pixels []float32) error) {
		tr.done.Go(func() {
			for i := from; ctx.Err() == nil; i += 2 {
				if err := do(images[i%len(images)]); err != nil && ctx.Err() == nil {
					tr.failed <- fmt.Errorf("image %d: %w", i, err)
					return
				}
				time.Sleep(5 * time.Millisecond) // a device that is busy all the time has no room to compare
			}
		})
	}
	ask(0, func(pixels []float32) error {
		_, err := edgemanager.NewAgentClient(conn).Predict(ctx, imageRequest(pixels))
		return err
	})
	ask(1, func(pixels []float32) error {
		body, err := json.Marshal(map[string]any{"inputs": []any{map[string]any{
			"name": "image", "datatype": "FP32", "shape": []int{1, 64}, "data": pixels,
		}}})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/v2/models/digits/infer",
			bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var answer struct{ Outputs []any }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Outputs) == 0 {
			return fmt.Errorf("status %d, %v", resp.StatusCode, err)
		}
		return nil
	})
	f.t.Cleanup(func() { tr.stop(f.t); _ = conn.Close() })
	return tr
}

func (tr *traffic) stop(t testing.TB) {
	t.Helper()
	tr.cancel()
	tr.done.Wait()
	select {
	case err := <-tr.failed:
		t.Errorf("a call failed: %v", err)
	default:
	}
}

// outcome waits for the end of a plan's stage, and returns it and what the device says.
func (f *field) outcome(plan string) (types.StageStatus, string) {
	f.t.Helper()
	var status types.StageStatus
	eventually(f.t, 3*time.Minute, plan+" ends", func() bool {
		p := must(f.sagemaker.DescribeEdgeDeploymentPlan(
			f.t.Context(), &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: &plan},
		))(f.t)
		status = p.Stages[0].DeploymentStatus.StageStatus
		return status == types.StageStatusDeployed || status == types.StageStatusFailed
	})
	return status, f.row(plan)
}

func (f *field) row(plan string) string {
	f.t.Helper()
	rows := must(f.sagemaker.ListStageDevices(f.t.Context(), &sagemaker.ListStageDevicesInput{
		EdgeDeploymentPlanName: &plan, StageName: aws.String("all"),
	}))(f.t)
	if len(rows.DeviceDeploymentSummaries) == 0 {
		return "" // the stage is starting
	}
	return aws.ToString(rows.DeviceDeploymentSummaries[0].DeviceDeploymentStatusMessage)
}

// The fourth version answers every request, in time, and is wrong on one digit. A
// device finds out on what its applications ask, by either socket, while they get
// the answers of the second.
func TestADeviceComparesANewModelOnLiveRequestsBeforeItTakesItsPlace(t *testing.T) {
	t.Parallel() // it mostly waits for polls
	f := newField(t)
	f.packaged("v4", "4.0")
	f.launch()
	f.roll("first", "v2")
	f.deployed("first")

	f.rollWith("quiet", "v4", "--max-disagreement", "1%", "--mirror", "3s", "--min-pairs", "50")
	if status, says := f.outcome("quiet"); status != types.StageStatusFailed ||
		!strings.Contains(says, "not proven: 0 requests were compared with 2.0 in ") {
		t.Errorf("without requests: %s, %q", status, says)
	}

	asking := f.traffic()
	f.rollWith("strict", "v4", "--max-disagreement", "1%", "--mirror", "2m", "--min-pairs", "50", "--compare", "label")
	seen := ""
	eventually(t, 2*time.Minute, "the server knows how the comparison goes", func() bool {
		seen = f.row("strict")
		return strings.Contains(seen, "digits runs beside 2.0") || strings.Contains(seen, "answers ")
	})
	t.Log(seen)
	status, says := f.outcome("strict")
	const wrong = "% of requests differently than 2.0; 1 % is allowed"
	if status != types.StageStatusFailed || !strings.Contains(says, wrong) || !strings.Contains(says, "evidence ") {
		t.Errorf("with a model that is wrong on one digit: %s, %q", status, says)
	}
	t.Log(says)
	if got := f.version(); got != "2.0" {
		t.Errorf("the device has %s", got)
	}

	f.rollWith("generous", "v4", "--max-disagreement", "40%", "--mirror", "10s", "--min-pairs", "20", "--compare",
		"label")
	status, says = f.outcome("generous")
	t.Log(says)
	if status != types.StageStatusDeployed || !strings.Contains(says, "40 % is allowed") ||
		!strings.Contains(says, "; memory ") {
		t.Errorf("with what is allowed: %s, %q", status, says)
	}
	asking.stop(t)
	eventually(t, 30*time.Second, "the server knows the version", func() bool { return f.version() == "4.0" })
	shown := f.server.client(program(t, "slipway"), "edge", "show", "generous")
	if !strings.Contains(shown, "the models agree on 1 devices") {
		t.Errorf("slipway edge show says\n%s", shown)
	}
}
