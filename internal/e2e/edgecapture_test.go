package e2e

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
)

// iot is the SDK's client for what devices are made of.
func (s *server) iot() *iot.Client {
	s.t.Helper()
	return iot.NewFromConfig(s.awsConfig())
}

// corrupt changes one byte of an object.
func (p *plant) corrupt(key string) {
	p.t.Helper()
	out := must(p.s3.GetObject(p.t.Context(), &s3.GetObjectInput{Bucket: aws.String(edgeBucket), Key: &key}))(p.t)
	defer out.Body.Close()
	body := must(io.ReadAll(out.Body))(p.t)
	body[len(body)/2] ^= 1
	must(
		p.s3.PutObject(
			p.t.Context(), &s3.PutObjectInput{Bucket: aws.String(edgeBucket), Key: &key, Body: bytes.NewReader(body)},
		),
	)(p.t)
}

// captured has two devices capture what they predict, one straight to S3 and
// one by way of its disk, and consumers read it (edge spec §7.5, §9 flow 10).
func (p *plant) captured() {
	p.t.Helper()
	for _, device := range []string{"cam-1", "cam-2"} {
		p.agents[device].capture(device + "-event")
	}
	var out string
	eventually(p.t, time.Minute, "what was captured is in S3", func() (ok bool) {
		var err error
		out, err = p.server.tryClient(python(p.t), "testdata/py/captured.py", edgeBucket, "captured", "plant", "digits")
		return err == nil
	})
	p.t.Log(strings.TrimSpace(out))
}

// capture predicts and captures the outcome.
func (a *agentProcess) capture(id string) {
	a.t.Helper()
	answer := must(a.predict(a.t.Context(), 1))(a.t)
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	must(a.client.CaptureData(ctx, &edgemanager.CaptureDataRequest{
		ModelName: "digits", CaptureId: id, InferenceTimestamp: &edgemanager.Timestamp{Seconds: time.Now().Unix()},
		InputTensors: []*edgemanager.Tensor{digit(1)}, OutputTensors: answer.Tensors,
		Inputs: []*edgemanager.AuxilaryData{{
			Name: "json", Encoding: edgemanager.Encoding_JSON,
			Data: &edgemanager.AuxilaryData_ByteData{ByteData: []byte(`{"line":7}`)},
		}},
	}))(a.t)
}
