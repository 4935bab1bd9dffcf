package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/models"
)

// deployONNX makes a model of the built-in image from model data, and a
// configuration of the same name.
func (c *sdk) deployONNX(name string, data []byte) {
	c.t.Helper()
	c.upload(name+"/model.tar.gz", data)
	_, err := c.sagemaker.CreateModel(c.t.Context(), &sagemaker.CreateModelInput{
		ModelName: &name,
		PrimaryContainer: &types.ContainerDefinition{
			Image: aws.String(config.ONNXImage), ModelDataUrl: aws.String("s3://models/" + name + "/model.tar.gz"),
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.config(name, variant("main", name, 1))
}

func TestARealModelAnswersAsWellAsItWasTrained(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	c.deployONNX("digits-v1", models.Archive("v1"))
	c.deployONNX("digits-v2", models.Archive("v2"))
	c.createEndpoint("digits", "digits-v1")
	v1 := c.accuracy("digits")
	_, err := c.sagemaker.UpdateEndpoint(t.Context(), &sagemaker.UpdateEndpointInput{
		EndpointName: aws.String("digits"), EndpointConfigName: aws.String("digits-v2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.awaitInService("digits")
	v2 := c.accuracy("digits")
	if v1 < 0.5 || v2 < v1 || v2 < 0.9 {
		t.Errorf("v1 reads %.3f of the digits right, v2 %.3f", v1, v2)
	}

	// A malformed tensor is the caller's fault, and says what was expected.
	_, err = c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: aws.String("digits"), ContentType: aws.String("text/csv"), Body: []byte("1,2,3"),
	})
	if err == nil || !strings.Contains(err.Error(), "Received client error (400) from primary") ||
		!strings.Contains(err.Error(), "image") {
		t.Errorf("three pixels: %v", err)
	}
}

func TestABrokenONNXModelFailsItsEndpointWithTheReason(t *testing.T) {
	s := startServer(t, func(c *config.Config) { c.Limits.StartupWindow = config.Duration(5 * time.Second) })
	c := s.sdk()
	for name, data := range map[string][]byte{
		"not-onnx":    archive(t, map[string]string{"model.onnx": "this is no model"}),
		"no-model":    archive(t, map[string]string{"readme.txt": "empty"}),
		"not-a-tar":   []byte("this is no archive"),
		"out-of-here": archive(t, map[string]string{"../../escape": "x"}),
	} {
		c.deployONNX(name, data)
		_, err := c.sagemaker.CreateEndpoint(
			t.Context(), &sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &name},
		)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, name+" failed", func() bool {
			return c.describe(name).EndpointStatus == types.EndpointStatusFailed
		})
		reason := aws.ToString(c.describe(name).FailureReason)
		t.Logf("%s: %s", name, reason)
		if reason == "" {
			t.Errorf("%s failed without a reason", name)
		}
	}
}

// accuracy sends the whole test set in one request.
func (c *sdk) accuracy(endpoint string) float64 {
	c.t.Helper()
	images, labels := models.TestSet()
	var body bytes.Buffer
	for _, pixels := range images {
		fields := make([]string, len(pixels))
		for i, p := range pixels {
			fields[i] = fmt.Sprint(p)
		}
		body.WriteString(strings.Join(fields, ",") + "\n")
	}
	out, err := c.once.InvokeEndpoint(c.t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: &endpoint, ContentType: aws.String("text/csv"), Accept: aws.String("application/json"),
		Body: body.Bytes(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	var answer struct{ Predictions []struct{ Label int } }
	if err := json.Unmarshal(out.Body, &answer); err != nil || len(answer.Predictions) != len(labels) {
		c.t.Fatalf("%d predictions for %d images, %v", len(answer.Predictions), len(labels), err)
	}
	right := 0
	for i, p := range answer.Predictions {
		if p.Label == labels[i] {
			right++
		}
	}
	return float64(right) / float64(len(labels))
}
