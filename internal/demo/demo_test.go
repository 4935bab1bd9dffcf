package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"
	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/openload"
)

// play plays a request that was sent at a second of the demo, and answered
// 10 ms later.
func (t *traffic) play(seq int, second float64, a answer, err error) {
	at := t.began.Add(time.Duration(second * float64(time.Second)))
	r := openload.Result{Seq: seq, Intended: at, Started: at, Ended: at.Add(10 * time.Millisecond), Err: err}
	t.sent.Add(1)
	if err != nil {
		r.Class = openload.Failed
	}
	if err == nil || a.failure != "" {
		t.answers[seq] = a
	}
	t.count(r)
}

// markAt sets a mark at a second of the demo.
func (t *traffic) markAt(m int, second float64) {
	t.at[m].Store(new(t.began.Add(time.Duration(second * float64(time.Second)))))
}

func by(digit int, version string) answer { return answer{digit: digit, version: version} }

func TestEveryRequestIsCountedInItsPhase(t *testing.T) {
	tr := newTraffic(nil, [][]float32{{1}, {2}, {3}}, []int{1, 2, 3})
	failed, its := errors.New("failed"), answer{failure: "index out of range"}
	tr.play(0, 1, by(1, "v1"), nil)
	tr.play(1, 2, by(9, "v1"), nil)
	tr.markAt(v2Began, 3)
	tr.play(2, 2.995, by(3, "v1"), nil) // under way when the update began
	tr.play(3, 4, by(1, "v2"), nil)
	tr.markAt(v2Ended, 5)
	tr.play(5, 4.999, by(3, "v1"), nil) // sent before it ended
	tr.play(6, 6, by(1, "v2"), nil)
	tr.play(7, 7, by(2, "v2"), nil)
	tr.markAt(v3Began, 8)
	tr.play(8, 8.5, by(3, "v2"), nil)
	tr.play(9, 9, by(1, "v3"), nil)
	tr.play(11, 9.3, its, failed)
	tr.play(10, 9.2, its, failed) // refused earlier, counted later
	tr.play(12, 9.9, by(1, "v3"), nil)
	tr.markAt(v3Ended, 10)
	tr.play(13, 11, by(2, "v2"), nil)

	if diff := cmp.Diff(sum{sent: 13, ok: 11, broken: 2}, tr.sum(), cmp.AllowUnexported(sum{})); diff != "" {
		t.Error(diff)
	}
	if !tr.only(servingV1, "v1") || !tr.only(updatingV2, "v1", "v2") || !tr.only(servingV2, "v2") ||
		!tr.only(updatingV3, "v2", "v3") || !tr.only(afterRollback, "v2") {
		t.Errorf("the phases are %+v", tr.rows())
	}
	if tr.accuracy("v1") != 0.75 || tr.accuracy("v2") != 1 {
		t.Errorf("accuracies %v and %v", tr.accuracy("v1"), tr.accuracy("v2"))
	}
	if image, v1, v2, ok := tr.improved(); !ok || image[0] != 2 || v1 != 9 || v2 != 2 {
		t.Errorf("improved: image %v, %d, %d, %v", image, v1, v2, ok)
	}
	if e := tr.broken; e.requests != 4 || e.lastSent.Sub(e.firstBad) != 690*time.Millisecond || e.image != 1 {
		t.Errorf("the exposure is %+v, %s", e, e.lastSent.Sub(e.firstBad))
	}
	if got := tr.shares(); got != (shares{4, 5, 4, 0}) {
		t.Errorf("shares %v", got)
	}
	if len(tr.answers) != 0 {
		t.Errorf("%d answers were never counted", len(tr.answers))
	}
}

func TestOnlyTheBrokenVersionsOwnFailuresAreExcused(t *testing.T) {
	failed, its := errors.New("failed"), answer{failure: "index out of range"}
	tr := newTraffic(nil, [][]float32{{1}}, []int{1})
	for m := range marks {
		tr.markAt(m, float64(m+1))
	}
	tr.play(0, 3.5, its, failed)      // while v3 may answer
	tr.play(1, 3.5, answer{}, failed) // the same time, but not the model's word
	tr.play(2, 0.5, its, failed)      // v1, v2 and a rejected v3 have no excuse
	tr.play(3, 1.5, its, failed)
	tr.play(4, 2.5, its, failed)
	tr.play(5, 4.5, its, failed)
	if diff := cmp.Diff(sum{sent: 6, broken: 1, lost: 5}, tr.sum(), cmp.AllowUnexported(sum{})); diff != "" {
		t.Error(diff)
	}
	if tr.firstLost == nil {
		t.Error("the first that was lost is not told")
	}
	tr.play(6, 4.6, by(1, "v3"), nil)
	tr.play(7, 4.7, by(1, ""), nil)
	if tr.only(afterRollback, "v2") || tr.only(afterRollback, "v3") {
		t.Error("an answer of nobody knows who went unnoticed")
	}
}

func TestAFailureIsTheModelsOwnOrTheServers(t *testing.T) {
	model := func(status int32, message string) error {
		return fmt.Errorf(
			"invoke: %w", &runtimetypes.ModelError{OriginalStatusCode: &status, OriginalMessage: &message},
		)
	}
	if got := ownFailure(
		model(500, `{"error":"the model failed on this input: index out of range"}`),
	); got != "index out of range" {
		t.Errorf("its own failure is read as %q", got)
	}
	for name, err := range map[string]error{
		"no instance":              &runtimetypes.ServiceUnavailable{},
		"a connection that broke":  io.ErrUnexpectedEOF,
		"an instance that is gone": model(0, "Could not connect to container primary."),
		"a busy instance":          model(503, `{"error":"the model is busy"}`),
		"another error of its":     model(500, `{"error":"an internal error"}`),
		"not JSON":                 model(500, "the model failed on this input"),
	} {
		if got := ownFailure(err); got != "" {
			t.Errorf("%s is taken for the model's own failure: %q", name, got)
		}
	}
}

func TestTheRecordOfTheDeploymentsIsRead(t *testing.T) {
	got, err := parseDeployments(
		`{"Deployments": [{"DeploymentId": "d-1", "EndpointConfigName": "digits-v3", "Verdict": "RolledBack", ` +
			`"Requests": 33}]}`,
	)
	if want := []deployment{{"d-1", "digits-v3", "RolledBack", 33}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseDeployments("no deployments"); err == nil {
		t.Error("a text that is not JSON was read")
	}
}

func TestTheStagesOfBothFleetsAreRead(t *testing.T) {
	status := func(s types.VariantStatus, message string) []types.ProductionVariantStatus {
		return []types.ProductionVariantStatus{{Status: s, StatusMessage: &message}}
	}
	got := stagesOf(&sagemaker.DescribeEndpointOutput{
		EndpointConfigName: aws.String("digits-v1"),
		ProductionVariants: []types.ProductionVariantSummary{
			{VariantStatus: status(types.VariantStatusDeleting, "Terminating 4 instance(s).")},
		},
		PendingDeploymentSummary: &types.PendingDeploymentSummary{
			EndpointConfigName: aws.String("digits-v2"),
			ProductionVariants: []types.PendingProductionVariantSummary{
				{VariantStatus: status(types.VariantStatusBaking, "Baking.")},
			},
		},
	})
	want := []stage{{"digits-v2", "Baking", "Baking."}, {"digits-v1", "Deleting", "Terminating 4 instance(s)."}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(stage{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheCanarysShareIsTakenWhileItBakes(t *testing.T) {
	d := &show{observed: []observed{
		{stage{status: "Creating"}, shares{10, 0, 0, 0}},
		{stage{status: "Baking"}, shares{100, 1, 0, 0}},
		{stage{status: "Baking"}, shares{175, 26, 0, 0}},
		{stage{status: "Deleting"}, shares{175, 500, 0, 0}},
	}}
	if share, of := d.canaryShare("v2"); share != 0.25 || of != 100 {
		t.Errorf("%v of %d", share, of)
	}
	if share, of := (&show{}).canaryShare("v2"); share != 0 || of != 0 {
		t.Errorf("%v of %d without a bake", share, of)
	}
}

func TestAnAnswerIsReadOrRefused(t *testing.T) {
	if got, err := parseAnswer([]byte(`{"predictions": [{"label": 7, "probabilities": [0.1]}]}`)); got != 7 ||
		err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	for _, body := range []string{
		"", "{}", `{"predictions": []}`, `{"predictions": [{}]}`, `{"predictions": [{"label": 1}, {"label": 2}]}`,
	} {
		if _, err := parseAnswer([]byte(body)); err == nil {
			t.Errorf("%q was taken for an answer", body)
		}
	}
}

func TestPlainOutputHasNoEscapesAndOneLinePerFact(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, true)
	s.title("Title")
	s.done("step", "detail", 1500*time.Millisecond)
	s.head("act")
	s.live(glance{
		at: 12 * time.Second, sum: sum{sent: 10, ok: 8, broken: 1, lost: 1}, by: shares{5, 4, 1, 0},
		p50: time.Millisecond, p99: 2 * time.Millisecond,
	})
	s.stage(12300*time.Millisecond, stage{"digits-v2", "Creating", "Launching 4 instance(s)."})
	s.check(true, "held")
	s.check(false, "broke")
	s.close()
	want := `
Title

  ok     step     detail (1.5 s)

  act
    12.0 s  v1   5/s  v2   4/s  v3   1/s  v4   0/s   500s of v3 1, lost 1   p50 1.0 ms, p99 2.0 ms
    12.3 s  v2 Creating          Launching 4 instance(s).
  ok     held
  FAILED broke

`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheLiveViewShowsSharesAndTrend(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, fancy: true}
	s.live(glance{
		sum: sum{sent: 10, ok: 7, broken: 1}, by: shares{30, 10, 0, 0}, p99: 4 * time.Millisecond,
		trend: []time.Duration{0, time.Millisecond, 4 * time.Millisecond},
		stage: "v2: Baking for 4 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 " +
			"instance(s).",
	})
	for _, want := range []string{
		"10", "0 lost", "1 that v3 failed on", "2 under way", strings.Repeat("█", 30), "v1 75 %", "v2 25 %", "▁▂█",
		"v2: Baking for 4 seconds",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown:\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if lipgloss.Width(line) > 80 {
			t.Errorf("a line of the view is too wide for the terminal:\n%s", line)
		}
	}
	if s.drawn == 0 {
		t.Error("the view would not be erased")
	}
}
