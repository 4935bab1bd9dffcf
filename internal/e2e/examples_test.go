package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
)

// A deployment is undone because its new model answers otherwise. The record names
// requests with which it did, by where they are captured, and has nothing of them.
func TestTheRecordSaysWhereRequestsAreCapturedWhoseAnswersDiffer(t *testing.T) {
	s, c := newCapturing(t)
	c.deployable("next", 2, nil)
	c.captures("kept", "m", everything("p"))
	c.gated("judged", "next", 2, map[string]string{
		"disagreement": "action=rollback first=2m output=json:name" + alike,
	})
	c.createEndpoint("live", "kept")
	c.updateOf("live", "judged", 2)
	sent := map[string]string{}
	eventually(t, time.Minute, "it is undone", func() bool {
		for range 5 {
			id := fmt.Sprint("order-", len(sent))
			sent[id] = fmt.Sprint("open sesame ", len(sent))
			_, err := c.once.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
				EndpointName: aws.String("live"), ContentType: aws.String("text/csv"), InferenceId: &id,
				Body: []byte(sent[id]),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return aws.ToString(c.describe("live").FailureReason) != ""
	})
	record := s.lastRecord("live")
	if strings.Contains(record, "sesame") {
		t.Errorf("a request is in the record:\n%s", record)
	}
	said := regexp.MustCompile(
		`Captured below s3://captured/(p/live/main/\S+/): a request that was over at (\S+), inference id "(\S+)"`,
	).FindAllStringSubmatch(record, -1)
	if len(said) != 3 {
		t.Fatalf("%d examples:\n%s", len(said), record)
	}
	s.stop() // puts what is captured
	s.restart()
	lines, keys := c.captured()
	for _, m := range said {
		under, id := m[1], m[3]
		at, err := time.Parse(time.RFC3339, m[2])
		if err != nil {
			t.Fatal(err)
		}
		line, found := lines[id]
		if !found || line.CaptureData.EndpointInput == nil || line.CaptureData.EndpointInput.Data != sent[id] {
			t.Errorf("%s is not captured as it was sent: %+v", id, line)
			continue
		}
		over, err := time.Parse(time.RFC3339, line.EventMetadata.InferenceTime)
		if err != nil || over.Sub(at).Abs() > time.Second {
			t.Errorf("%s was over at %s, not at %s, %v", id, line.EventMetadata.InferenceTime, m[2], err)
		}
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, under) }) {
			t.Errorf("nothing is below %s: %q", under, keys)
		}
	}
	s.stop()
}
