// Package tags turns the tags of the APIs into the domain's, and back: every
// service has a type of its own for the same two strings. What a tag may be is
// not its job.
package tags

import (
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// tag is any service's type.
type tag interface {
	sagemaker.Tag | iot.Tag | cloudwatch.Tag
}

// pair is what each of them is made of.
type pair struct{ Key, Value *string }

// In returns tags as the domain has them.
func In[T tag](in []T) (out []hosting.Tag) {
	for _, t := range in {
		p := pair(t)
		out = append(out, hosting.Tag{Key: shape.Val(p.Key), Value: shape.Val(p.Value)})
	}
	return out
}

// Out returns tags as a service has them: a list, even if it is empty.
func Out[T tag](in []hosting.Tag) []T {
	out := []T{}
	for _, t := range in {
		out = append(out, T(pair{&t.Key, &t.Value}))
	}
	return out
}
