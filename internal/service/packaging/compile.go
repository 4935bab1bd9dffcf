package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// compiledName is the file that says, in a compiled archive, what was done.
const compiledName = "slipway_compiled.json"

// compile does what a compilation job is about (spec §6.5): it never converts
// and never claims to have made anything faster than the runtime's own
// optimiser did, if that was asked for.
func (s *Service) compile(ctx context.Context, j *packaging.Job) (func(*packaging.Job), error) {
	c := j.Compile
	a, done, err := s.fetch(ctx, c.Input)
	defer done()
	if err != nil {
		return nil, err
	}
	files, err := paths(a.Dir)
	if err != nil {
		return nil, err
	}
	found := packaging.Inspect(c.Framework, files)
	if found.Failure != "" {
		return nil, fail(found.Failure)
	}
	out := packaging.Compiled{URI: c.OutputURI(), Runtime: found.Runtime}
	if found.Note != "" {
		out.Notes = append(out.Notes, found.Note)
	}
	if c.Optimize != "" && found.Runtime != packaging.RuntimeONNX {
		return nil, fail(packaging.Reason("x-optimize is for ONNX models; this archive has none."))
	}
	var st stored
	if found.Runtime == packaging.RuntimeONNX {
		st, err = s.compileONNX(ctx, j, a, found, &out)
	} else {
		st, err = s.passThrough(ctx, j, a, found, &out)
	}
	if err != nil {
		return nil, err
	}
	out.SHA256, out.Size = st.sha256, st.size
	return func(j *packaging.Job) { j.Compile.Result = &out }, nil
}

// passThrough copies an archive byte by byte.
func (s *Service) passThrough(
	ctx context.Context, j *packaging.Job, a artifact.Model, found packaging.Contents, out *packaging.Compiled,
) (stored, error) {
	if _, err := flat(a.Dir, found.Files); err != nil { // what cannot be packaged is not compiled
		return stored{}, err
	}
	if found.Runtime == packaging.RuntimeOpaque {
		if err := checkTFLite(filepath.Join(a.Dir, filepath.FromSlash(found.Model))); err != nil {
			return stored{}, err
		}
	} else if err := readMeta(a.Dir, found.Files, out); err != nil {
		return stored{}, err
	}
	bucket, key, _ := packaging.SplitS3(j.Compile.Input)
	r, _, err := s.cfg.Objects.Get(ctx, bucket, key)
	if err != nil {
		return stored{}, err
	}
	defer r.Close() // only read
	st, err := s.put(ctx, out.URI, "application/gzip", func(w io.Writer) error {
		_, err := io.Copy(w, untrusted.NewReader(ctx, r))
		return err
	})
	if err == nil && st.sha256 != a.Digest {
		err = errors.New("the input changed while it was copied")
	}
	return st, err
}

func checkTFLite(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	var head [8]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[4:]) != "TFL3" {
		return fail(packaging.Reason("The file %s is not a TensorFlow Lite model.", path.Base(file)))
	}
	return nil
}

// readMeta takes the signature from the .meta file of a Neo artifact, if it
// has one that can be read.
func readMeta(dir string, files []string, out *packaging.Compiled) error {
	for _, f := range files {
		if path.Ext(f) != ".meta" {
			continue
		}
		b, err := readLimited(filepath.Join(dir, filepath.FromSlash(f)), 1<<20)
		if err != nil {
			return err
		}
		if in, outs, ok := packaging.ParseMeta(b); ok {
			out.Inputs, out.Outputs = in, outs
			return nil
		}
		out.Notes = append(out.Notes, fmt.Sprintf("%s could not be read; inputs and outputs are unknown.", f))
	}
	return nil
}

func readLimited(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fail(packaging.Reason("%s has more than %d bytes.", filepath.Base(file), limit))
	}
	return b, err
}

func (s *Service) compileONNX(
	ctx context.Context, j *packaging.Job, a artifact.Model, found packaging.Contents, out *packaging.Compiled,
) (stored, error) {
	model := filepath.Join(a.Dir, filepath.FromSlash(found.Model))
	g, err := inspect(model)
	if err != nil {
		return stored{}, err
	}
	if err := onnxfile.CheckExternal(filepath.Dir(model), g.external); err != nil {
		return stored{}, fail(packaging.Reason("Incompatible ONNX model: %v.", err))
	}
	out.Inputs, out.Outputs = g.inputs, g.outputs
	if out.Derived, err = fitShapes(j.Compile.Shapes, &g); err != nil {
		return stored{}, err
	}
	items, err := flat(a.Dir, found.Files)
	if err != nil {
		return stored{}, err
	}
	if err := checkGolden(items, g); err != nil {
		return stored{}, err
	}
	if j.Compile.Optimize == "" { // the optimiser loads it, too
		if err := s.tryLoading(ctx, model); err != nil {
			return stored{}, err
		}
	}
	record := compiledRecord{
		Version: 1, Framework: j.Compile.Framework, Model: path.Base(found.Model), Source: a.Digest,
		IRVersion: g.irVersion, Opset: g.opset, Initializers: g.initializers,
		Inputs: g.inputs, Outputs: g.outputs, Target: j.Compile.Target.Suffix(),
	}
	if j.Compile.Optimize != "" {
		dir, done, err := s.scratch()
		defer done()
		if err != nil {
			return stored{}, err
		}
		o, err := s.optimize(ctx, model, filepath.Join(dir, path.Base(found.Model)), j.Compile.Optimize, g)
		if err != nil {
			return stored{}, err
		}
		record.Optimized = &o.record
		out.Notes = append(out.Notes, o.note())
		items = o.replace(items, path.Base(found.Model), g.external)
	}
	if items, err = addRecord(items, record); err != nil {
		return stored{}, err
	}
	return s.put(ctx, out.URI, "application/gzip", func(w io.Writer) error { return writeTar(ctx, w, items) })
}

// fitShapes checks the DataInputConfig, or derives it.
func fitShapes(text string, g *graph) (derived string, err error) {
	if text == "" {
		return packaging.Derive(g.inputs), nil
	}
	shapes, err := packaging.ParseShapes(text)
	if err != nil {
		return "", fail(err.Error())
	}
	why := shapes.Fit(g.inputs)
	if why == "" {
		why = g.contradiction(shapes)
	}
	if why != "" {
		return "", fail(why)
	}
	return "", nil
}

// checkGolden holds golden.json, if there is one, to the model.
func checkGolden(items []item, g graph) error {
	i := slices.IndexFunc(items, func(i item) bool { return i.name == "golden.json" })
	if i < 0 {
		return nil
	}
	b, err := readLimited(items[i].path, packaging.MaxGolden)
	if err != nil {
		return err
	}
	if why := packaging.CheckGolden(b, g.inputs, g.outputs); why != "" {
		return fail(why)
	}
	return nil
}

// compiledRecord says what was found and done; it goes into the archive.
type compiledRecord struct {
	Version      int                `json:"version"`
	Framework    string             `json:"framework"`
	Model        string             `json:"model"`
	Target       string             `json:"target"`
	Source       string             `json:"source_sha256"`
	IRVersion    int64              `json:"ir_version"`
	Opset        int64              `json:"opset"`
	Initializers int                `json:"initializers"`
	Inputs       []packaging.Tensor `json:"inputs"`
	Outputs      []packaging.Tensor `json:"outputs"`
	Optimized    *optimizedRecord   `json:"optimized,omitempty"`
}

func addRecord(items []item, r compiledRecord) ([]item, error) {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode the record of a compilation: %w", err)
	}
	// One from an earlier compilation of the same archive gives way.
	items = slices.DeleteFunc(items, func(i item) bool { return i.name == compiledName })
	return append(items, item{name: compiledName, content: bytes.TrimSpace(b)}), nil
}
