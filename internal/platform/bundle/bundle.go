// Package bundle writes and reads model packages: a flat, deterministic,
// signed tar.gz with a manifest (edge spec §6.3). It promises that a package
// that Unpack or Check accepted is, in every byte, what a key under one of the
// given roots signed, and that reading a hostile package costs no more than
// its limits. Choosing what goes into a package, keeping keys and remembering
// what a device has accepted are not its job; Trust says what to remember.
//
// # The format, version 1
//
// A package is one gzip member holding one ustar stream. Both are canonical:
// from the manifest follows every byte that is not file content, so a reader
// needs no tar parser and an attacker has nothing to vary.
//
//   - The gzip header is the ten bytes 1f 8b 08 00 00000000 04 ff.
//   - The head comes first, in stored (uncompressed) deflate blocks of 65,535
//     bytes, the last one shorter: the entries sagemaker_edge_manifest,
//     sagemaker_edge_manifest.sig and sagemaker_edge_manifest.crt.
//   - The payload follows as any deflate, stored where compression would save
//     little: the other files sorted by name, and the 1,024 zero bytes that end
//     a tar. The manifest has the size and SHA-256 of these packed bytes, and
//     of each file.
//   - The gzip trailer (CRC-32 and length) ends the object.
//
// Entries are regular files, mode 0444, owner 0, time 0. The signature is
// Ed25519 over the DSSE pre-authentication encoding of the manifest's bytes;
// the .crt has the chain from the signing certificate towards a root, without
// the root, in PEM.
//
// # Keys that end
//
// Devices have no clock to trust and may be offline for years, so neither dates
// nor lists that somebody would have to serve decide. Signing keys are numbered,
// by the serial number of their certificates, and each manifest says from which
// number on keys are good (min_key) and from which serial on packages of its
// model are (floor). Both are signed; a device that accepted a package holds
// every later one to them (Trust), and what it learned never loosens. A key
// cannot revoke itself or newer keys, so whoever stole an old one can lock
// nobody out. A root ends when its certificate is taken from the device.
package bundle

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// The files of every package that are not the model's.
const (
	ManifestName  = "sagemaker_edge_manifest"
	SignatureName = ManifestName + ".sig"
	ChainName     = ManifestName + ".crt"
)

// PayloadType is what the signature says it signs (DSSE).
const PayloadType = "application/vnd.slipway.edge-manifest+json"

// Version is the manifest_version that this package writes and reads.
const Version = 1

// GoldenName is the optional file of a package with inputs and the outputs
// that the model must give for them.
const GoldenName = "golden.json"

// Error is why a package was refused: one sentence for an operator.
type Error struct {
	Reason string
	cause  error
}

func (e *Error) Error() string { return e.Reason }

// Unwrap returns the private cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

func refuse(format string, args ...any) *Error { return &Error{Reason: fmt.Sprintf(format, args...)} }

func (e *Error) because(err error) *Error { e.cause = err; return e }

// The runtimes that a package can ask for.
const (
	RuntimeONNX   = "onnx"
	RuntimeDLR    = "dlr"
	RuntimeOpaque = "opaque"
)

// Manifest says what is in a package, and what it is for.
type Manifest struct {
	Version  int      `json:"manifest_version"`
	Metadata Metadata `json:"metadata"`
	Inputs   []Tensor `json:"inputs"`
	Outputs  []Tensor `json:"outputs"`
	Files    []File   `json:"files"` // sorted by path; all but the three of the head
	Payload  Payload  `json:"payload"`
}

// Metadata is where a package comes from and where it belongs.
type Metadata struct {
	ModelName      string `json:"model_name"`
	ModelVersion   string `json:"model_version"`
	PackagingJob   string `json:"packaging_job"`
	CompilationJob string `json:"compilation_job"`
	Created        string `json:"created"` // RFC 3339, UTC; for people: devices have no clock to trust
	Serial         uint64 `json:"serial"`  // of the packaging job; grows without end on one server
	Floor          uint64 `json:"floor"`   // from now on refuse packages of this model with a smaller serial
	Key            uint64 `json:"key"`     // number of the signing key, as in its certificate
	MinKey         uint64 `json:"min_key"` // from now on refuse packages signed by keys with a smaller number
	Target         Target `json:"target"`
	Runtime        string `json:"runtime"` // one of the Runtime constants
}

// Target is the device that the model was compiled for, in SageMaker's words.
type Target struct {
	Device      string `json:"device,omitempty"`
	OS          string `json:"os,omitempty"`
	Arch        string `json:"arch,omitempty"`
	Accelerator string `json:"accelerator,omitempty"`
}

// Tensor is an input or output of the model. DataType is a name of the Edge
// Manager contract (spec §7.1) where it has one, else ONNX's; a negative size
// is an open dimension, and a shape that is null may be any.
type Tensor struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"`
	Shape    []int64 `json:"shape"`
}

// File is one file of the model. Size is in bytes; the digest in lower-case hex.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Payload pins the compressed bytes of the package that follow its head.
type Payload struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// File returns the file called path.
func (m *Manifest) File(path string) (File, bool) {
	for _, f := range m.Files {
		if f.Path == path {
			return f, true
		}
	}
	return File{}, false
}

// Size returns the bytes of the unpacked model files, without the head.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Limits is what is too much of a package. A zero field is its default.
type Limits struct {
	Total    int64 // bytes of all files; 0 means 4 GiB
	File     int64 // bytes of one file; 0 means 4 GiB; never more than 8 GiB - 1, what ustar can say
	Files    int   // 0 means 1,000
	Manifest int64 // bytes of the manifest; 0 means 1 MiB
	Chain    int64 // bytes of the certificate chain; 0 means 32 KiB
	Ratio    int64 // the payload may grow so many times, past 16 MiB; 0 means 1,000
}

const freeGrowth = 16 << 20

func (l Limits) withDefaults() Limits {
	l.Total = cmp.Or(l.Total, 4<<30)
	l.File = min(cmp.Or(l.File, 4<<30), maxOctal)
	l.Files = cmp.Or(l.Files, 1000)
	l.Manifest = cmp.Or(l.Manifest, 1<<20)
	l.Chain = cmp.Or(l.Chain, 32<<10)
	l.Ratio = cmp.Or(l.Ratio, 1000)
	return l
}

// DecodeManifest reads and checks a manifest; its bytes are hostile until
// their signature was checked. Members that this version does not know are
// ignored: what a reader must understand raises the version.
func DecodeManifest(b []byte, l Limits) (Manifest, error) {
	l = l.withDefaults()
	var m Manifest
	if int64(len(b)) > l.Manifest {
		return m, refuse("The manifest has %d bytes; the limit is %d.", len(b), l.Manifest)
	}
	var v struct {
		Version *int `json:"manifest_version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return m, refuse("The manifest is not valid JSON.").because(err)
	}
	if v.Version == nil {
		return m, refuse("The manifest has no version; packages made by Amazon cannot be verified here.")
	}
	if *v.Version != Version {
		return m, refuse("The manifest has version %d; this device understands version %d.", *v.Version, Version)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, refuse("The manifest is not of the right form.").because(err)
	}
	if err := m.check(l); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// check holds a manifest to the rules of the format.
func (m *Manifest) check(l Limits) error {
	md := &m.Metadata
	switch {
	case m.Version != Version:
		return refuse("The manifest has version %d, not %d.", m.Version, Version)
	case md.ModelName == "" || md.ModelVersion == "":
		return refuse("The manifest does not name the model and its version.")
	case md.Runtime != RuntimeONNX && md.Runtime != RuntimeDLR && md.Runtime != RuntimeOpaque:
		return refuse("The package asks for the runtime %q, which is not known.", brief(md.Runtime))
	case md.Floor > md.Serial:
		return refuse("The package is older than the floor that it sets itself.")
	case md.MinKey > md.Key:
		return refuse("The package revokes the key that signed it.")
	case len(m.Files) == 0:
		return refuse("The manifest lists no files.")
	case len(m.Files) > l.Files:
		return refuse("The package has %d files; the limit is %d.", len(m.Files), l.Files)
	}
	return m.checkFiles(l)
}

func (m *Manifest) checkFiles(l Limits) error {
	var total int64
	folded := make(map[string]bool, len(m.Files))
	for i, f := range m.Files {
		if err := checkName(f.Path); err != nil {
			return err
		}
		switch fold := strings.ToLower(f.Path); {
		case strings.HasPrefix(fold, ManifestName):
			return refuse("The manifest lists %q, a name that is kept for the package itself.", f.Path)
		case folded[fold]:
			return refuse("The package has %q twice, if case is ignored.", f.Path)
		default:
			folded[fold] = true
		}
		switch {
		case i > 0 && m.Files[i-1].Path >= f.Path:
			return refuse("The manifest does not list its files in order: %q comes too late.", f.Path)
		case f.Size < 0 || f.Size > l.File:
			return refuse("The file %q has %d bytes; the limit is %d.", f.Path, f.Size, l.File)
		case f.Size > l.Total-total:
			return refuse("The files have more than %d bytes, the limit of a package.", l.Total)
		case !isDigest(f.SHA256):
			return refuse("The manifest has no SHA-256 digest of %q.", f.Path)
		}
		total += f.Size
	}
	p := m.Payload
	if p.Size <= 0 || !isDigest(p.SHA256) {
		return refuse("The manifest does not say what its payload is.")
	}
	if n := m.payloadLength(); n > freeGrowth && n/l.Ratio > p.Size {
		return refuse("The package unpacks to more than %d times its size.", l.Ratio)
	}
	return nil
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == strings.ToLower(s)
}

// brief keeps hostile text in messages short.
func brief(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
