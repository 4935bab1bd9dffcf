package packaging

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// pack does what a packaging job is about (spec §6.1, §6.3).
func (s *Service) pack(ctx context.Context, j *packaging.Job) (func(*packaging.Job), error) {
	p := j.Pack
	a, done, err := s.fetch(ctx, p.Source.URI)
	defer done()
	if err != nil {
		return nil, err
	}
	if a.Digest != p.Source.SHA256 {
		return nil, fail(fmt.Sprintf(
			"ClientError: The artifact of the compilation job '%s' at %s was replaced since it was compiled.",
			p.CompilationJob, p.Source.URI,
		))
	}
	sources, err := s.sources(p, a)
	if err != nil {
		return nil, err
	}
	if err := s.mayWrite(ctx, p.OutputURI()); err != nil {
		return nil, err
	}
	key, minKey, err := s.signer(ctx)
	if err != nil {
		return nil, err
	}
	floor, err := s.cfg.Store.Floor(ctx, j.Scope, p.ModelName)
	if err != nil {
		return nil, err
	}
	signed := &recordingSigner{Signer: key}
	m := manifest(j, min(floor, p.Serial), key.Number(), minKey)
	st, err := s.put(ctx, p.OutputURI(), "application/gzip", func(w io.Writer) error {
		_, err := bundle.Write(ctx, w, m, sources, signed)
		if e, ok := errors.AsType[*bundle.Error](err); ok {
			return fail("ClientError: " + e.Reason)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &packaging.Package{URI: p.OutputURI(), SHA1: st.sha1, SHA256: st.sha256, Size: st.size}
	if r.Signature, err = signed.document(); err != nil {
		return nil, err
	}
	if p.Preset != "" {
		if r.Preset, err = s.preset(ctx, j); err != nil {
			return nil, err
		}
	}
	return func(j *packaging.Job) { j.Pack.Result = r }, nil
}

func (s *Service) sources(p *packaging.Pack, a artifact.Model) ([]bundle.Source, error) {
	files, err := paths(a.Dir)
	if err != nil {
		return nil, err
	}
	framework := "ONNX"
	if p.Source.Runtime == packaging.RuntimeOpaque {
		framework = "TFLITE"
	}
	found := packaging.Inspect(framework, files)
	if found.Failure != "" {
		return nil, fail(found.Failure)
	}
	items, err := flat(a.Dir, found.Files)
	if err != nil {
		return nil, err
	}
	sources := make([]bundle.Source, len(items))
	for i := range items {
		if sources[i], err = items[i].source(); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

func manifest(j *packaging.Job, floor, key, minKey uint64) bundle.Manifest {
	p := j.Pack
	return bundle.Manifest{
		Metadata: bundle.Metadata{
			ModelName: p.ModelName, ModelVersion: p.ModelVersion, PackagingJob: j.Name,
			CompilationJob: p.CompilationJob,
			Created: j.State.Created.UTC().Format(
				time.RFC3339), Serial: p.Serial, Floor: floor, Key: key, MinKey: minKey,
			Target: bundle.Target{
				Device: p.Target.Device, OS: p.Target.OS, Arch: p.Target.Arch,
				Accelerator: p.Target.Accelerator,
			},
			Runtime: p.Source.Runtime,
		},
		Inputs: tensors(p.Source.Inputs), Outputs: tensors(p.Source.Outputs),
	}
}

func tensors(in []packaging.Tensor) []bundle.Tensor {
	out := make([]bundle.Tensor, len(in))
	for i, t := range in {
		out[i] = bundle.Tensor{Name: t.Name, DataType: t.DataType, Shape: t.Shape}
		if t.Shape == nil && !t.Unranked {
			out[i].Shape = []int64{} // one value
		}
	}
	return out
}

// mayWrite refuses to overwrite an object that devices are being told to fetch.
func (s *Service) mayWrite(ctx context.Context, uri string) error {
	if s.cfg.ArtifactInUse == nil {
		return nil
	}
	bucket, key, _ := packaging.SplitS3(uri)
	switch _, err := s.cfg.Objects.Stat(ctx, bucket, key); {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	}
	used, err := s.cfg.ArtifactInUse(ctx, uri)
	if err != nil {
		return err
	}
	if used {
		return fail(fmt.Sprintf(
			"ClientError: OutputConfiguration: The object %s is being deployed by an active stage and is not "+
				"overwritten. Choose another ModelVersion or S3OutputLocation.",
			uri,
		))
	}
	s.log.InfoContext(ctx, "a package is overwritten", "uri", uri)
	return nil
}

// preset writes the recipe of a Greengrass component (spec §6.2). Nothing is
// registered with anybody.
func (s *Service) preset(ctx context.Context, j *packaging.Job) (*packaging.PresetOutput, error) {
	recipe, err := j.Pack.PresetConfig.Recipe(j.Pack.OutputURI())
	if err != nil {
		return nil, err
	}
	at := j.Pack.RecipeURI()
	if _, err := s.put(ctx, at, "application/json", func(w io.Writer) error {
		_, err := w.Write(recipe)
		return err
	}); err != nil {
		return nil, err
	}
	return &packaging.PresetOutput{
		ARN: j.Pack.PresetConfig.ARN(j.Scope),
		Message: "The recipe of the component is at " + at +
			". Nothing was registered with AWS: create the component from the recipe.",
	}, nil
}

// recordingSigner remembers what was signed, for the ModelSignature document.
type recordingSigner struct {
	bundle.Signer
	manifest, sig, chain []byte
}

func (r *recordingSigner) Sign(ctx context.Context, manifest []byte) (sig, chain []byte, err error) {
	r.manifest = bytes.Clone(manifest)
	r.sig, r.chain, err = r.Signer.Sign(ctx, manifest)
	return r.sig, r.chain, err
}

// document is ModelSignature: the manifest, the signature over its DSSE
// encoding, and the certificates, in one JSON text.
func (r *recordingSigner) document() (string, error) {
	b, err := json.Marshal(struct {
		PayloadType string `json:"payloadType"`
		Manifest    string `json:"manifest"`
		Signature   string `json:"signature"` // base 64
		Chain       string `json:"chain"`     // PEM
	}{bundle.PayloadType, string(r.manifest), base64.StdEncoding.EncodeToString(r.sig), string(r.chain)})
	return string(b), err
}
