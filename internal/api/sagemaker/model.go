package sagemaker

import (
	"context"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createModel(
	ctx context.Context, in sagemaker.CreateModelInput,
) (out sagemaker.CreateModelOutput, err error) {
	s, err := Scope(ctx, "CreateModel", arn.KindModel, *in.ModelName)
	if err != nil {
		return out, err
	}
	m, err := model(s, in)
	if err != nil {
		return out, err
	}
	id, err := a.ctl.CreateModel(ctx, m, tags.In(in.Tags))
	return sagemaker.CreateModelOutput{ModelArn: &id}, err
}

// model turns the request into the domain's model.
func model(s arn.Scope, in sagemaker.CreateModelInput) (m hosting.Model, err error) {
	containers := in.Containers
	if in.PrimaryContainer != nil {
		containers = []sagemaker.ContainerDefinition{*in.PrimaryContainer}
	}
	if (in.PrimaryContainer != nil) == (len(in.Containers) > 0) {
		return m, fault.New(fault.Invalid, "Exactly one of PrimaryContainer or Containers must be specified.")
	}
	if err := checkModel(in, containers); err != nil {
		return m, err
	}
	m = hosting.Model{Scope: s, Name: *in.ModelName}
	for i, c := range containers {
		name := "primary"
		if in.PrimaryContainer == nil {
			name = fmt.Sprintf("container-%d", i+1)
			if c.ContainerHostname != nil {
				name = *c.ContainerHostname
			}
		}
		data, err := modelData(name, c)
		if err != nil {
			return m, err
		}
		if c.Image == nil {
			return m, fault.New(fault.Invalid, "Container %q must specify an Image.", name)
		}
		m.Containers = append(
			m.Containers, hosting.Container{Name: name, Image: *c.Image, ModelData: data, Environment: c.Environment},
		)
	}
	doc := in
	doc.Tags = nil // they are records of their own
	if in.PrimaryContainer != nil {
		doc.PrimaryContainer = new(echo(*in.PrimaryContainer))
	}
	doc.Containers = nil
	for _, c := range in.Containers {
		doc.Containers = append(doc.Containers, echo(c))
	}
	m.Document = shape.Append(nil, doc)
	return m, nil
}

// echo is a container as Describe shows it: as given, with the two members that
// the service fills in. Terraform would see a difference without them.
func echo(c sagemaker.ContainerDefinition) sagemaker.ContainerDefinition {
	if c.Mode == nil {
		c.Mode = new(sagemaker.ContainerModeSingleModel)
	}
	if c.Environment == nil {
		c.Environment = map[string]string{}
	}
	return c
}

// modelData says where a container's model lies; nil if the image brings its
// own.
func modelData(container string, c sagemaker.ContainerDefinition) (*hosting.ModelData, error) {
	switch {
	case c.ModelDataUrl != nil && c.ModelDataSource != nil:
		return nil, fault.New(
			fault.Invalid, "Container %q cannot specify both ModelDataUrl and ModelDataSource.", container,
		)
	case c.ModelDataUrl != nil:
		return &hosting.ModelData{URI: *c.ModelDataUrl, Layout: hosting.Archive}, nil
	case c.ModelDataSource == nil || c.ModelDataSource.S3DataSource == nil:
		return nil, nil
	}
	src := c.ModelDataSource.S3DataSource
	d := &hosting.ModelData{URI: *src.S3Uri, Layout: hosting.Archive}
	if *src.CompressionType == sagemaker.ModelCompressionTypeNone {
		d.Layout = hosting.Prefix
		if *src.S3DataType == sagemaker.S3ModelDataTypeS3Object {
			d.Layout = hosting.Object
		}
	}
	return d, nil
}

func (a *api) describeModel(
	ctx context.Context, in sagemaker.DescribeModelInput,
) (out sagemaker.DescribeModelOutput, err error) {
	s, err := Scope(ctx, "DescribeModel", arn.KindModel, *in.ModelName)
	if err != nil {
		return out, err
	}
	m, err := a.ctl.Model(ctx, s, *in.ModelName)
	if err != nil {
		return out, err
	}
	var doc sagemaker.CreateModelInput
	if err := shape.Stored(m.Document, &doc); err != nil {
		return out, err
	}
	isolated := shape.Val(doc.EnableNetworkIsolation)
	return sagemaker.DescribeModelOutput{
		ModelName: &m.Name, ModelArn: new(m.ARN()), CreationTime: shape.At(m.Created),
		PrimaryContainer: doc.PrimaryContainer, Containers: doc.Containers,
		InferenceExecutionConfig: doc.InferenceExecutionConfig, ExecutionRoleArn: doc.ExecutionRoleArn,
		VpcConfig: doc.VpcConfig, EnableNetworkIsolation: &isolated,
	}, nil
}

func (a *api) listModels(
	ctx context.Context, in sagemaker.ListModelsInput,
) (out sagemaker.ListModelsOutput, err error) {
	l, err := newListing(ctx, "ListModels", arn.KindModel, in.NextToken, hosting.Filter{
		NameContains: shape.Val(in.NameContains), CreatedFrom: shape.TimeOf(in.CreationTimeAfter),
		CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
		SortBy:        hosting.SortBy(shape.Val(in.SortBy)),
		Ascending:     shape.Val(in.SortOrder) == sagemaker.OrderKeyAscending,
		Limit:         int(shape.Val(in.MaxResults)),
	})
	if err != nil {
		return out, err
	}
	sums, more, err := a.ctl.ListModels(ctx, l.scope, l.filter)
	out.NextToken = l.token(sums, more)
	for _, m := range sums {
		out.Models = append(out.Models, sagemaker.ModelSummary{
			ModelName: &m.Name, ModelArn: new(l.scope.Model(m.Name)), CreationTime: shape.At(m.Created),
		})
	}
	return out, err
}

func (a *api) deleteModel(ctx context.Context, in sagemaker.DeleteModelInput) (out shape.None, err error) {
	s, err := Scope(ctx, "DeleteModel", arn.KindModel, *in.ModelName)
	if err != nil {
		return out, err
	}
	return out, a.ctl.DeleteModel(ctx, s, *in.ModelName)
}
