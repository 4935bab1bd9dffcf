package capture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// event is one line of a manifest. Consumers match these keys, and expect them
// in alphabetical order with all four arrays there (spec §7.5).
type event struct {
	AuxInputs  []element `json:"deviceFleetAuxiliaryInputs"`
	AuxOutputs []element `json:"deviceFleetAuxiliaryOutputs"`
	Inputs     []element `json:"deviceFleetInputs"`
	Outputs    []element `json:"deviceFleetOutputs"`
	Metadata   metadata  `json:"eventMetadata"`
	Version    string    `json:"eventVersion"`
}

type element struct {
	Data     *string `json:"data,omitempty"`
	DataRef  string  `json:"data-ref,omitempty"`
	Encoding string  `json:"encoding"`
	Mode     string  `json:"mode"`
	Name     string  `json:"name"`
	Observed string  `json:"observedContentType"`
}

type metadata struct {
	Fleet   string `json:"deviceFleetName"`
	Device  string `json:"deviceId"`
	ID      string `json:"eventId"`
	Time    string `json:"inferenceTime"`
	Model   string `json:"modelName"`
	Version string `json:"modelVersion"`
}

// aside is data too large to be embedded: a file beside the manifest.
type aside struct {
	name string
	data []byte
}

// writer turns requests into the lines of one manifest and its files.
type writer struct {
	cfg   *Config
	refer func(name string) string // the reference to the file name
	taken func(name string) bool   // whether there is such a file; nil if nobody can tell
	lines bytes.Buffer
	files []aside
}

func (w *writer) add(r *Request) error {
	e := event{
		AuxInputs: []element{}, AuxOutputs: []element{}, Inputs: []element{}, Outputs: []element{}, Version: "0",
		Metadata: metadata{
			w.cfg.Fleet, w.cfg.Device, r.ID, r.Time.UTC().Format("2006-01-02T15:04:05"), r.ModelName, r.ModelVersion,
		},
	}
	for i := range r.Inputs {
		e.Inputs = append(e.Inputs, w.tensor(r, "Input", i+1, &r.Inputs[i]))
	}
	for i := range r.Outputs {
		e.Outputs = append(e.Outputs, w.tensor(r, "Output", i+1, &r.Outputs[i]))
	}
	for i := range r.AuxInputs {
		e.AuxInputs = append(e.AuxInputs, w.auxiliary(r, "Input", i+1, &r.AuxInputs[i]))
	}
	for i := range r.AuxOutputs {
		e.AuxOutputs = append(e.AuxOutputs, w.auxiliary(r, "Output", i+1, &r.AuxOutputs[i]))
	}
	enc := json.NewEncoder(&w.lines) // ends the line
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("write event %s: %w", r.ID, err)
	}
	return nil
}

func (w *writer) tensor(r *Request, mode string, n int, t *tensor.Tensor) element {
	e := element{Mode: mode, Name: t.Name, Encoding: string(Base64), Observed: observed(t)}
	if e.Name == "" {
		e.Name = mode + "-" + strconv.Itoa(n)
	}
	data := t.Data
	if t.Type == tensor.String {
		data = binaryStrings(t.Strings)
	}
	if len(data) > w.cfg.EmbedLimit {
		e.Encoding = string(None) // the file holds the bytes as they are
		e.DataRef = w.keep(fmt.Sprintf("%s-%s-%d", r.ID, mode, n), data)
		return e
	}
	e.Data = new(base64.StdEncoding.EncodeToString(data))
	return e
}

// observed is the text that consumers take apart: Tensor[FLOAT32; 1, 3].
func observed(t *tensor.Tensor) string {
	b := append([]byte("Tensor["), model.Word(t.Type)...)
	b = append(b, ';', ' ')
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, d, 10)
	}
	return string(append(b, ']'))
}

// binaryStrings lays strings out as the Open Inference Protocol does: each
// after its length in four bytes.
func binaryStrings(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

func (w *writer) auxiliary(r *Request, mode string, n int, a *Auxiliary) element {
	e := element{Mode: mode, Name: a.Name, Encoding: string(a.Encoding), Observed: a.Name}
	if e.Name == "" {
		e.Name = mode + "-" + strconv.Itoa(n)
	}
	switch {
	case len(a.Data) > w.cfg.EmbedLimit:
		e.DataRef = w.keep(fmt.Sprintf("%s-Auxiliary%s-%d", r.ID, mode, n), a.Data)
	case utf8.Valid(a.Data):
		e.Data = new(string(a.Data))
	default: // JSON can carry text alone
		e.Encoding = string(Base64)
		e.Data = new(base64.StdEncoding.EncodeToString(a.Data))
	}
	return e
}

// keep gives data a file of its own. Ids are the applications': another device
// of the fleet may give the same one, and what it uploads lies in the same place.
func (w *writer) keep(stem string, data []byte) string {
	stem = w.cfg.Device + "-" + stem
	if w.taken == nil {
		stem += "-" + uuid.NewString()
	}
	name := stem + asideEnds
	for n := 2; w.taken != nil && w.taken(name); n++ {
		name = stem + "-" + strconv.Itoa(n) + asideEnds
	}
	w.files = append(w.files, aside{name, data})
	return w.refer(name)
}

// folder returns where the events of a model and an hour lie, below the bucket
// or the disk path.
func (c *Config) folder(modelName string, at time.Time) string {
	return path.Join(c.Prefix, c.Fleet, modelName, at.UTC().Format("2006/01/02/15"))
}
