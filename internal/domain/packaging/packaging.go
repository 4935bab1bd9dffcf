// Package packaging decides about compilation and edge packaging jobs: where
// they stand and what follows (Next), what a model archive is and whether it
// can be compiled, whether a DataInputConfig or golden inputs fit a model, and
// how outputs are called (edge spec §6). It does no I/O: reading objects,
// running tools and signing is for service/packaging.
//
//	STARTING ──> INPROGRESS ──> COMPLETED
//	    │             ├───────> FAILED      (an outcome, or the time is up)
//	    └──> STOPPING <┘ ─────> STOPPED     (asked to stop)
package packaging

import (
	"path"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Kind tells the two kinds of job apart.
type Kind string

// The kinds of job.
const (
	Compilation Kind = "compilation"
	Packaging   Kind = "packaging"
)

// Job is a compilation or packaging job: its state, and of its kind what was
// asked and what came of it.
type Job struct {
	ID       string // never used again, unlike the name
	Kind     Kind
	Scope    arn.Scope
	Name     string
	State    State
	Document []byte // the request, to be echoed

	Compile *Compile `json:",omitempty"`
	Pack    *Pack    `json:",omitempty"`
}

// ARN returns the job's ARN.
func (j *Job) ARN() string {
	if j.Kind == Packaging {
		return j.Scope.EdgePackagingJob(j.Name)
	}
	return j.Scope.CompilationJob(j.Name)
}

// Missing is what is answered for a job that does not exist (spec §1.8).
func Missing(k Kind, name string) error {
	if k == Packaging {
		return fault.New(fault.NotFound, "Could not find edge packaging job '%s'.", name)
	}
	return fault.New(fault.NotFound, "Could not find compilation job '%s'.", name)
}

// Exists is what is answered for a name in use.
func (j *Job) Exists() error {
	return fault.New(fault.Exists, "Resource Already Exists: %s", j.ARN())
}

// Compile is what a compilation job is about.
type Compile struct {
	Input     string // s3://bucket/key of the archive
	Shapes    string // DataInputConfig as given; "" to derive it
	Framework string
	OutputAt  string // S3OutputLocation
	Target    Target
	Optimize  string        // "", or a level of the runtime's optimiser
	MaxTime   time.Duration // 0: none
	Result    *Compiled     `json:",omitempty"`
}

// OutputURI returns where the job's artifact goes (spec §6.4).
func (c *Compile) OutputURI() string {
	base := path.Base(c.Input)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".gz"), ".tar")
	if suffix := c.Target.Suffix(); suffix != "" {
		base += "-" + suffix
	}
	return Join(c.OutputAt, base+".tar.gz")
}

// Target is what a model is compiled for: a device, or a platform.
type Target struct{ Device, OS, Arch, Accelerator string }

// Suffix is how a target appears in an object's key.
func (t Target) Suffix() string {
	if t.Device != "" || t.OS == "" {
		return t.Device
	}
	s := t.OS + "_" + t.Arch
	if t.Accelerator != "" {
		s += "_" + t.Accelerator
	}
	return s
}

// Compiled is what came of a compilation.
type Compiled struct {
	URI     string
	SHA256  string // of the object, hex
	Size    int64
	Runtime string // onnx, dlr or opaque
	Inputs  []Tensor
	Outputs []Tensor
	Derived string   // DerivedDataInputConfig, "" unless it was asked for
	Notes   []string // what is worth knowing, for the record
}

// Pack is what a packaging job is about. Source is as it was when the job was
// created: deleting the compilation job changes nothing.
type Pack struct {
	CompilationJob string
	ModelName      string
	ModelVersion   string
	OutputAt       string // S3OutputLocation
	Preset         string // PresetDeploymentType, "" for none
	PresetConfig   Preset
	Serial         uint64
	Source         Compiled
	Target         Target
	Result         *Package `json:",omitempty"`
}

// OutputURI returns where the package goes: samples construct this themselves.
func (p *Pack) OutputURI() string {
	return Join(p.OutputAt, p.ModelName+"-"+p.ModelVersion+".tar.gz")
}

// RecipeURI returns where the recipe of a preset deployment goes.
func (p *Pack) RecipeURI() string {
	return Join(p.OutputAt, p.ModelName+"-"+p.ModelVersion+".greengrass-recipe.json")
}

// Note is what to say of a job whose model no boto3 client can report.
func (p *Pack) Note() string {
	if len(p.ModelName) >= 4 {
		return ""
	}
	return "Devices that use boto3 cannot report a model whose name has fewer than 4 characters."
}

// Package is what came of a packaging job.
type Package struct {
	URI          string
	SHA1, SHA256 string // of the object, hex
	Size         int64
	Signature    string // the ModelSignature document
	Preset       *PresetOutput
}

// PresetOutput is what came of a preset deployment.
type PresetOutput struct {
	ARN     string
	Failed  bool
	Message string
}

// Artifact is a finished package, as deployment plans refer to it.
type Artifact struct {
	Job, S3URL, SHA1, SHA256 string
	Size                     int64
	ModelName, ModelVersion  string
	Serial                   uint64
}

// Tensor is an input or output of a model; a negative size is an open one.
type Tensor struct {
	Name     string
	DataType string
	Shape    []int64
	Unranked bool `json:",omitempty"` // any shape
}

// Join puts a file name behind an S3 location with exactly one slash.
func Join(location, name string) string { return strings.TrimRight(location, "/") + "/" + name }

// SplitS3 splits s3://bucket/key; ok is false if it is not one with both.
func SplitS3(uri string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	if !ok {
		return "", "", false
	}
	bucket, key, ok = strings.Cut(rest, "/")
	return bucket, key, ok && bucket != "" && key != ""
}
