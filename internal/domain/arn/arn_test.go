package arn_test

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/arn"
)

func TestARNsRoundTrip(t *testing.T) {
	s := arn.Scope{Region: "us-gov-west-1", Account: "123456789012"}
	const want = "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:endpoint/MyEndpoint"
	if got := s.Endpoint("MyEndpoint"); got != want {
		t.Fatalf("Endpoint = %q, want %q", got, want)
	}
	scope, kind, name, err := arn.ParseSageMaker(want)
	if err != nil || scope != s || kind != arn.KindEndpoint || name != "MyEndpoint" {
		t.Errorf("ParseSageMaker = %v %q %q %v", scope, kind, name, err)
	}
}

func TestWhatIsNoARNIsRefused(t *testing.T) {
	for _, s := range []string{
		"", "arn:aws:s3:::b", "arn:aws:sagemaker:r:a:endpoint",
		"arn:aws:sagemaker:r:a:endpoint/", "arn:x:sagemaker:r:a:endpoint/n",
	} {
		if _, _, _, err := arn.ParseSageMaker(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestTheARNOfAnAlarmRoundTrips(t *testing.T) {
	s := arn.Scope{Region: "eu-west-1", Account: "123456789012"}
	const want = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:prod: 5xx/errors"
	if got := s.Alarm("prod: 5xx/errors"); got != want {
		t.Fatalf("Alarm = %q, want %q", got, want)
	}
	if scope, name, err := arn.ParseAlarm(want); err != nil || scope != s || name != "prod: 5xx/errors" {
		t.Errorf("ParseAlarm = %v %q %v", scope, name, err)
	}
	for _, bad := range []string{
		"", "prod", "arn:aws:cloudwatch:r:a:alarm:", "arn:aws:cloudwatch:r:a:dashboard:d",
		"arn:aws:sagemaker:r:a:alarm:x",
	} {
		if _, _, err := arn.ParseAlarm(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
