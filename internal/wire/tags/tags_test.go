package tags_test

import (
	"reflect"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func TestTagsComeBackAsTheyWereInEveryServicesType(t *testing.T) {
	want := []hosting.Tag{{Key: "a", Value: "1"}, {Key: "b"}}
	for name, got := range map[string][]hosting.Tag{
		"SageMaker":  tags.In(tags.Out[sagemaker.Tag](want)),
		"IoT":        tags.In(tags.Out[iot.Tag](want)),
		"CloudWatch": tags.In(tags.Out[cloudwatch.Tag](want)),
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := tags.In([]iot.Tag{{Key: new("a")}}); !reflect.DeepEqual(got, []hosting.Tag{{Key: "a"}}) {
		t.Error("IoT does not ask for a value, and got", got)
	}
	if got := tags.Out[sagemaker.Tag](nil); got == nil || len(got) > 0 {
		t.Error("no tags are", got)
	}
}
