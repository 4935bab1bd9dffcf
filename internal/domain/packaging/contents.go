package packaging

import (
	"path"
	"slices"
	"strings"
)

// Contents is what was found in a model archive: what will be done with it, or
// the reason why nothing can be.
type Contents struct {
	Runtime string   // onnx, dlr or opaque; "" if Failure says why not
	Model   string   // path of the model file; "" for dlr
	Files   []string // paths of the files that go along, the model's among them
	Note    string
	Failure string
}

// The runtimes.
const (
	RuntimeONNX   = "onnx"
	RuntimeDLR    = "dlr"
	RuntimeOpaque = "opaque"
)

// Inspect classifies an archive by the paths of its files (spec §6.5). Hidden files
// do not count: some systems put them there unasked.
func Inspect(framework string, files []string) Contents {
	files = slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		return slices.ContainsFunc(strings.Split(f, "/"), func(p string) bool { return strings.HasPrefix(p, ".") })
	})
	slices.Sort(files)
	if isDLR(files) {
		return Contents{
			Runtime: RuntimeDLR, Files: files,
			Note: "The archive holds an artifact of Neo; it was passed through as it is.",
		}
	}
	if framework == "TFLITE" {
		return one(files, ".tflite", RuntimeOpaque)
	}
	onnx := one(files, ".onnx", RuntimeONNX)
	if framework == "ONNX" || onnx.Failure == "" {
		if framework != "ONNX" {
			onnx.Note = "The archive holds an ONNX model, which was used; nothing was converted from " + framework + "."
		}
		return onnx
	}
	return Contents{Failure: unconverted(framework, files)}
}

// isDLR recognises what Neo made: compiled.* with a library or parameters, or
// the runtime's own library.
func isDLR(files []string) bool {
	for _, f := range files {
		base := path.Base(f)
		switch {
		case base == "libdlr.so":
			return true
		case strings.HasPrefix(base, "compiled") &&
			slices.Contains([]string{".so", ".params", ".ro", ".meta"}, path.Ext(base)):
			return true
		}
	}
	return false
}

// one finds the only file with an extension, and what lies beside it.
func one(files []string, ext, runtime string) Contents {
	found := with(files, ext)
	kind := strings.TrimPrefix(ext, ".")
	switch len(found) {
	case 0:
		return Contents{Failure: Reason("No %s file provided in %s", kind, listed(files))}
	case 1:
	default:
		return Contents{Failure: Reason("Multiple %s files provided, %s, when only one is allowed", kind,
			listed(found))}
	}
	c := Contents{Runtime: runtime, Model: found[0]}
	for _, f := range files {
		if path.Dir(f) == path.Dir(c.Model) || f == "golden.json" {
			c.Files = append(c.Files, f)
		}
	}
	return c
}

func with(files []string, exts ...string) (found []string) {
	for _, f := range files {
		if slices.Contains(exts, path.Ext(f)) {
			found = append(found, f)
		}
	}
	return found
}

func listed(files []string) string {
	if len(files) == 0 {
		return "the archive"
	}
	const most = 10
	s := strings.Join(files[:min(len(files), most)], ", ")
	if len(files) > most {
		s += ", …"
	}
	return s
}

// conversions says how to make ONNX of a framework's model.
func conversion(framework string) string {
	switch framework {
	case "PYTORCH":
		return "torch.onnx.export"
	case "TENSORFLOW", "KERAS":
		return "python -m tf2onnx.convert"
	case "MXNET":
		return "mxnet.onnx.export_model"
	case "XGBOOST":
		return "onnxmltools.convert_xgboost"
	case "SKLEARN":
		return "skl2onnx.to_onnx"
	}
	return "a converter to ONNX"
}

// unconverted is the reason why a model of another framework is not compiled:
// first what is wrong with the archive, in the words that users know.
func unconverted(framework string, files []string) string {
	switch framework {
	case "TENSORFLOW":
		if len(with(files, ".pb", ".pbtxt")) != 1 {
			return Reason("Exactly one .pb file is allowed for TensorFlow models.")
		}
	case "KERAS":
		switch h5 := with(files, ".h5"); len(h5) {
		case 0:
			return Reason("No h5 file provided in %s", listed(files))
		case 1:
		default:
			return Reason("Multiple h5 files provided, %s, when only one is allowed", listed(h5))
		}
	case "MXNET":
		if len(with(files, ".params")) != 1 {
			return Reason("Only one parameter file is allowed for MXNet model.")
		}
	}
	return Reason("Slipway does not convert %s models. Convert the model to ONNX yourself, for example with %s, and "+
		"put the .onnx file into the archive.", framework, conversion(framework))
}
