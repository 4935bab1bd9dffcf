package main

import (
	"regexp"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

func TestMessagesOfLogRecordsAreConstant(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), logs, "a")
}

func TestPhasesKindsAndStrategiesAreNamedInFull(t *testing.T) {
	ignored := regexp.MustCompile(manyKinds)
	const module = "github.com/slipway-ml/slipway/internal/"
	for name, want := range map[string]bool{
		module + "domain/rollout.Phase":     false,
		module + "domain/rollout.Kind":      false,
		module + "domain/traffic.Strategy":  false,
		module + "domain/edge.StageStatus":  false,
		module + "domain/packaging.Status":  false,
		module + "domain/tensor.Type":       true,
		module + "wire/shape.Kind":          true,
		"reflect.Kind":                      true,
		"google.golang.org/grpc/codes.Code": true,
	} {
		if got := ignored.MatchString(name); got != want {
			t.Errorf("%s may be switched over in part: %t, want %t", name, got, want)
		}
	}
}
