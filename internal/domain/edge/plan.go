package edge

import (
	"errors"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// MaxStages is how many stages a plan may have (spec §4.1).
const MaxStages = 10

// MaxModels is how many models a plan may deploy (spec §11 Q17).
const MaxModels = 20

// Plan is an edge deployment plan: what is deployed, to which fleet, in which
// stages. A plan has no status of its own; its stages have.
type Plan struct {
	ID       int64 // of the store
	Scope    arn.Scope
	Name     string
	Fleet    string
	Models   []ModelConfig
	Stages   []Stage
	Totals   Counts // the sum over the stages, also where Stages is left out
	Policy   Policy
	Removing bool // a stage was deleted, and its rows are not all gone yet
	Created  time.Time
	Modified time.Time
}

// ModelConfig says which package a handle gets.
type ModelConfig struct {
	Handle string `json:"Handle"`
	Job    string `json:"Job"`
}

// ARN returns the plan's ARN.
func (p *Plan) ARN() string { return p.Scope.EdgeDeployment(p.Name) }

// Counts returns the sum over the stages.
func (p *Plan) Counts() (c Counts) {
	for _, s := range p.Stages {
		c = c.Plus(s.Counts)
	}
	return c
}

// Stage finds a stage by name; its index is -1 if there is none.
func (p *Plan) Stage(name string) int {
	for i := range p.Stages {
		if p.Stages[i].Name == name {
			return i
		}
	}
	return -1
}

// StageName returns the name of the stage with an id, or "".
func (p *Plan) StageName(id int64) string {
	for i := range p.Stages {
		if p.Stages[i].ID == id {
			return p.Stages[i].Name
		}
	}
	return ""
}

// Check refuses models that no plan can have.
func (p *Plan) Check() error {
	if n := len(p.Models); n < 1 || n > MaxModels {
		return fault.New(fault.Invalid, "ModelConfigs must have between 1 and %d entries, not %d.", MaxModels, n)
	}
	seen := make(map[string]bool, len(p.Models))
	for _, m := range p.Models {
		if seen[m.Handle] {
			return fault.New(fault.Invalid, "ModelHandle %q is given twice.", m.Handle)
		}
		seen[m.Handle] = true
	}
	return nil
}

// AddStages appends stages, all or none (spec §2.20).
func (p *Plan) AddStages(add []Stage) error {
	if len(p.Stages)+len(add) > MaxStages {
		return fault.New(fault.Limit,
			"An edge deployment plan can have at most %d stages; %q has %d and %d more were asked for.", MaxStages,
			p.Name, len(p.Stages), len(add))
	}
	have := p.Stages
	for _, s := range add {
		for _, h := range have {
			if h.Name == s.Name {
				return fault.New(fault.Invalid, "Stage %q is given twice in edge deployment plan %q.", s.Name, p.Name)
			}
		}
		var err error
		if s.Selection, err = s.Selection.Check(); err != nil {
			return err
		}
		if s.OnFailure == "" {
			s.OnFailure = RollbackOnFailure
		}
		s.Status = StageReady
		have = append(have[:len(have):len(have)], s)
	}
	p.Stages = have
	return nil
}

// Shares returns a handle that both plans deploy to, or "".
func (p *Plan) Shares(o []ModelConfig) string {
	for _, m := range p.Models {
		for _, n := range o {
			if m.Handle == n.Handle {
				return m.Handle
			}
		}
	}
	return ""
}

// CheckDeletable refuses to delete a plan with a stage that is active.
func (p *Plan) CheckDeletable() error {
	for _, s := range p.Stages {
		if s.Active() {
			return fault.New(fault.InUse, "Edge deployment plan %q cannot be deleted: its stage %q is %s.", p.Name,
				s.Name, s.Status)
		}
	}
	return nil
}

// The sentences about what does not exist. Clients compare with parts of those
// about fleets and devices (spec §1.8).

// NoPlan says that a plan does not exist.
func NoPlan(name string) *fault.Error {
	return fault.New(fault.NotFound, "Could not find edge deployment plan '%s'.", name)
}

// NoStage says that a stage does not exist.
func NoStage(plan, stage string) *fault.Error {
	return fault.New(fault.NotFound, "Could not find stage '%s' in edge deployment plan '%s'.", stage, plan)
}

// NoFleet is what describing, updating and reporting on a fleet answers.
func NoFleet(name string) *fault.Error {
	return fault.New(fault.NotFound, "No devicefleet with name %s exists", name)
}

// NoFleetToDelete is what deleting a fleet answers.
func NoFleetToDelete(name string) *fault.Error {
	return fault.New(fault.NotFound, "DeviceFleet with name %s does not exist", name)
}

// NoFleetOfDevice is what operations on devices answer.
func NoFleetOfDevice(name string) *fault.Error {
	return fault.New(fault.NotFound, "No device fleet with name %s exists", name)
}

// NoDevice is what describing and updating a device answers.
func NoDevice(fleet, device string) *fault.Error {
	return fault.New(fault.NotFound, "No device with name %s in device fleet %s", device, fleet)
}

// NoDeviceToDeregister is what deregistering answers.
func NoDeviceToDeregister(fleet, device string) *fault.Error {
	return fault.New(fault.NotFound, "Device with name %s does not exist in device fleet %s", device, fleet)
}

// Missing reports whether err says that something does not exist.
func Missing(err error) bool { return errors.Is(err, fault.NotFound) }

// Reworded is err, but said in other words if it says that something does not
// exist: operations differ in them.
func Reworded(err error, words *fault.Error) error {
	if Missing(err) {
		return words
	}
	return err
}
