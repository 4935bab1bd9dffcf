package formats

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/trips"
	"github.com/slipway-ml/slipway/internal/service/capture"
	"github.com/slipway-ml/slipway/internal/service/gates"
)

// columns are all columns that hold JSON of our own, and what each holds. What
// follows a slash is the kind of rows that hold it, where there are several.
var columns = map[string]reflect.Type{
	"model.doc":           reflect.TypeFor[hosting.Model](),
	"endpoint_config.doc": reflect.TypeFor[hosting.EndpointConfig](),
	"endpoint.doc":        reflect.TypeFor[hosting.Endpoint](),
	"deployment.doc":      reflect.TypeFor[hosting.Deployment](),
	"instance.spec":       reflect.TypeFor[hosting.InstanceSpec](),
	"route.doc":           reflect.TypeFor[traffic.Route](),

	"event.doc/DeploymentPhase": reflect.TypeFor[record.Transition](),
	"event.doc/EndpointStatus":  reflect.TypeFor[map[string]string](),

	"alarm.definition":  reflect.TypeFor[alarm.Definition](),
	"alarm.state":       reflect.TypeFor[alarm.State](),
	"series.dimensions": reflect.TypeFor[[]metric.Dimension](),

	"fleet.doc":     reflect.TypeFor[edge.Fleet](),
	"device.models": reflect.TypeFor[[]edge.LoadedModel](),

	"edge_plan.models":     reflect.TypeFor[[]edge.ModelConfig](),
	"edge_plan.policy":     reflect.TypeFor[edge.Policy](),
	"edge_stage.selection": reflect.TypeFor[edge.Selection](),
	"edge_stage.orders":    reflect.TypeFor[edge.Order](),
	"edge_stage.doc":       reflect.TypeFor[edge.Stage](),

	"thing_type.doc":    reflect.TypeFor[trust.ThingType](),
	"thing.doc":         reflect.TypeFor[trust.Thing](),
	"thing.attributes":  reflect.TypeFor[map[string]string](),
	"device_policy.doc": reflect.TypeFor[trust.Policy](),
	"role_alias.doc":    reflect.TypeFor[trust.RoleAlias](),

	"job.doc": reflect.TypeFor[packaging.Job](),
}

// files are the documents that lie in files of their own, on a device too.
var files = map[string]reflect.Type{
	"capture.spool":      reflect.TypeFor[capture.Header](),
	"agent.state":        reflect.TypeFor[depot.State](),
	"package.manifest":   reflect.TypeFor[bundle.Manifest](),
	"objects.bucket":     reflect.TypeFor[objects.Bucket](),
	"objects.object":     reflect.TypeFor[objects.Info](),
	"objects.upload":     reflect.TypeFor[objects.Upload](),
	"directory.database": reflect.TypeFor[store.Generation](),
	"directory.trips":    reflect.TypeFor[trips.Document](),
}

// coming are documents of columns that no filled database has yet. Those of
// package evidence have golden documents beside it, with what they mean.
var coming = map[string]reflect.Type{
	"event.doc/PreviousFleet": reflect.TypeFor[record.FleetTrouble](),

	"evidence.doc":     reflect.TypeFor[gates.Document](),
	"evidence.state":   reflect.TypeFor[evidence.State](),
	"evidence.proof":   reflect.TypeFor[evidence.ProofState](),
	"evidence.ledger":  reflect.TypeFor[evidence.Ledger](),
	"evidence.profile": reflect.TypeFor[evidence.Profile](),
	"evidence.cuts":    reflect.TypeFor[evidence.Cuts](),
}

// foreign are the columns whose JSON is the API's, or a receiver's, and never
// read back.
var foreign = map[string]string{
	"alarm_history.data": "HistoryData of DescribeAlarmHistory, as AWS writes it",
	"outbox.body":        "the event as webhooks get it",
}

// documents returns all that is stored as JSON, in columns and in files.
func documents() map[string]reflect.Type {
	all := maps.Clone(columns)
	maps.Copy(all, files)
	maps.Copy(all, coming)
	return all
}

// A name that Go gives a field is not part of what is stored: each field says
// itself under which name it is, so that renaming it loses nobody's data.
func TestEveryStoredFieldHasItsNameInJSON(t *testing.T) {
	for name, of := range documents() {
		for _, fault := range faults(of) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

func TestFieldsWithoutNamesAreFound(t *testing.T) {
	type inner struct{ Untagged int }
	type number int
	type Embedded struct {
		Same string `json:"same"`
	}
	one := func(of reflect.Type) reflect.Type { return structOf(field("X", of, `json:"x"`)) }
	text := reflect.TypeFor[string]()
	embedded := reflect.StructField{Name: "Embedded", Type: reflect.TypeFor[Embedded](), Anonymous: true}
	for what, c := range map[string]struct {
		of   reflect.Type
		want string
	}{
		"a field":                 {reflect.TypeFor[inner](), "inner.Untagged has no name"},
		"one with options alone":  {structOf(field("X", text, `json:",omitempty"`)), ".X has no name"},
		"one behind a pointer":    {one(reflect.TypeFor[*inner]()), "inner.Untagged has no name"},
		"one in a slice of a map": {reflect.TypeFor[map[string][]inner](), "inner.Untagged has no name"},
		"one embedded":            {reflect.TypeFor[struct{ inner }](), "inner.Untagged has no name"},
		"two alike": {
			structOf(field("A", text, `json:"a"`), field("B", text, `json:"a"`)),
			"two fields are a",
		},
		"two but for case": {
			structOf(field("A", text, `json:"a"`), field("B", text, `json:"A"`)),
			"two fields are A",
		},
		"one like an embedded": {structOf(embedded, field("B", text, `json:"same"`)), "two fields are same"},
		"a number for a word":  {one(reflect.TypeFor[number]()), "number is stored as a number"},
		"anything":             {one(reflect.TypeFor[any]()), "interface {} can be anything"},
	} {
		if got := strings.Join(faults(c.of), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", what, got, c.want)
		}
	}
}

func structOf(fields ...reflect.StructField) reflect.Type { return reflect.StructOf(fields) }

func field(name string, of reflect.Type, tag reflect.StructTag) reflect.StructField {
	return reflect.StructField{Name: name, Type: of, Tag: tag}
}

// faults lists what is wrong with a stored type and all it is made of.
func faults(of reflect.Type) []string {
	w := walker{seen: map[reflect.Type]bool{}}
	w.walk(of)
	return w.faults
}

type walker struct {
	seen   map[reflect.Type]bool
	faults []string
}

func (w *walker) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *walker) walk(of reflect.Type) {
	if w.seen[of] || of == reflect.TypeFor[time.Time]() || of == reflect.TypeFor[time.Duration]() {
		return
	}
	w.seen[of] = true
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		w.walk(of.Elem())
	case reflect.Struct:
		w.fields(of, map[string]bool{})
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if of.PkgPath() != "" { // a new constant in the middle would change the meaning of stored ones
			w.fault("%s is stored as a number; store a word", of)
		}
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64:
	default:
		w.fault("%s can be anything", of)
	}
}

// fields walks the fields of a struct. Those of embedded structs are stored as
// its own; names are the JSON names of all, in lower case, as decoding does not
// tell cases apart.
func (w *walker) fields(of reflect.Type, names map[string]bool) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			if f.Type.Kind() != reflect.Struct {
				w.fault("%s embeds %s, which is no struct", of, f.Type)
				continue
			}
			w.fields(f.Type, names)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			w.fault("%s.%s has no name", of, f.Name)
		case names[strings.ToLower(name)]:
			w.fault("%s: two fields are %s", of, name)
		}
		names[strings.ToLower(name)] = true
		w.walk(f.Type)
	}
}
