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
	ID       string    `json:"ID"` // never used again, unlike the name
	Kind     Kind      `json:"Kind"`
	Scope    arn.Scope `json:"Scope"`
	Name     string    `json:"Name"`
	State    State     `json:"State"`
	Document []byte    `json:"Document"` // the request, to be echoed

	Compile *Compile `json:"Compile,omitempty"`
	Pack    *Pack    `json:"Pack,omitempty"`
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
	Input     string        `json:"Input"`  // s3://bucket/key of the archive
	Shapes    string        `json:"Shapes"` // DataInputConfig as given; "" to derive it
	Framework string        `json:"Framework"`
	OutputAt  string        `json:"OutputAt"` // S3OutputLocation
	Target    Target        `json:"Target"`
	Optimize  string        `json:"Optimize"` // "", or a level of the runtime's optimiser
	MaxTime   time.Duration `json:"MaxTime"`  // 0: none
	Result    *Compiled     `json:"Result,omitempty"`
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
type Target struct {
	Device      string `json:"Device"`
	OS          string `json:"OS"`
	Arch        string `json:"Arch"`
	Accelerator string `json:"Accelerator"`
}

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
	URI     string   `json:"URI"`
	SHA256  string   `json:"SHA256"` // of the object, hex
	Size    int64    `json:"Size"`
	Runtime string   `json:"Runtime"` // onnx, dlr or opaque
	Inputs  []Tensor `json:"Inputs"`
	Outputs []Tensor `json:"Outputs"`
	Derived string   `json:"Derived"` // DerivedDataInputConfig, "" unless it was asked for
	Notes   []string `json:"Notes"`   // what is worth knowing, for the record
}

// Pack is what a packaging job is about. Source is as it was when the job was
// created: deleting the compilation job changes nothing.
type Pack struct {
	CompilationJob string   `json:"CompilationJob"`
	ModelName      string   `json:"ModelName"`
	ModelVersion   string   `json:"ModelVersion"`
	OutputAt       string   `json:"OutputAt"` // S3OutputLocation
	Preset         string   `json:"Preset"`   // PresetDeploymentType, "" for none
	PresetConfig   Preset   `json:"PresetConfig"`
	Serial         uint64   `json:"Serial"`
	Source         Compiled `json:"Source"`
	Target         Target   `json:"Target"`
	Result         *Package `json:"Result,omitempty"`
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
	URI       string        `json:"URI"`
	SHA1      string        `json:"SHA1"`
	SHA256    string        `json:"SHA256"` // of the object, hex
	Size      int64         `json:"Size"`
	Signature string        `json:"Signature"` // the ModelSignature document
	Preset    *PresetOutput `json:"Preset"`
}

// PresetOutput is what came of a preset deployment.
type PresetOutput struct {
	ARN     string `json:"ARN"`
	Failed  bool   `json:"Failed"`
	Message string `json:"Message"`
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
	Name     string  `json:"Name"`
	DataType string  `json:"DataType"`
	Shape    []int64 `json:"Shape"`
	Unranked bool    `json:"Unranked,omitempty"` // any shape
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
