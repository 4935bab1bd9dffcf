package edge

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// SubsetType is the way in which a stage selects its devices.
type SubsetType string

// The ways to select.
const (
	ByPercentage   SubsetType = "PERCENTAGE"
	ByName         SubsetType = "SELECTION"
	ByNameContains SubsetType = "NAMECONTAINS"
)

// Selection says which devices a stage deploys to (spec §4.4). It is resolved
// once, when the stage starts.
type Selection struct {
	Type         SubsetType `json:"Type"`
	Percentage   int        `json:"Percentage,omitempty"`
	Names        []string   `json:"Names,omitempty"`
	NameContains string     `json:"NameContains,omitempty"`
}

// String tells a selection in words.
func (s Selection) String() string {
	switch s.Type {
	case ByPercentage:
		return fmt.Sprintf("%d percent of the fleet", s.Percentage)
	case ByName:
		return fmt.Sprintf("%d devices by name", len(s.Names))
	case ByNameContains:
		return fmt.Sprintf("the devices whose name contains %q", s.NameContains)
	}
	return "no device"
}

// Check refuses a selection that makes no sense, and returns it without repeated
// names.
func (s Selection) Check() (Selection, error) {
	var own, others bool
	switch s.Type {
	case ByPercentage:
		own, others = s.Percentage >= 1 && s.Percentage <= 100, len(s.Names) > 0 || s.NameContains != ""
	case ByName:
		own, others = len(s.Names) > 0, s.Percentage != 0 || s.NameContains != ""
	case ByNameContains:
		own, others = s.NameContains != "", s.Percentage != 0 || len(s.Names) > 0
	default:
		return s, fault.New(fault.Invalid, "Unknown DeviceSubsetType %q.", s.Type)
	}
	member := map[SubsetType]string{
		ByPercentage: "Percentage between 1 and 100",
		ByName:       "DeviceNames that is not empty", ByNameContains: "DeviceNameContains",
	}[s.Type]
	if !own {
		return s, fault.New(fault.Invalid, "DeviceSelectionConfig with DeviceSubsetType %s needs a %s.", s.Type, member)
	}
	if others {
		return s, fault.New(fault.Invalid,
			"DeviceSelectionConfig with DeviceSubsetType %s takes no other selection member.", s.Type)
	}
	if s.Type == ByName {
		names := slices.Clone(s.Names)
		slices.Sort(names)
		s.Names = slices.Compact(names)
	}
	return s, nil
}

// Matches reports whether the selection is of a device of that name, for the two
// types that name their devices.
func (s Selection) Matches(name string) bool {
	switch s.Type {
	case ByName:
		_, found := slices.BinarySearch(s.Names, name)
		return found
	case ByNameContains:
		return strings.Contains(name, s.NameContains)
	case ByPercentage:
	}
	return false
}

// Target returns how many of n registered devices a percentage is: rounded up,
// at least one if there is any (spec §4.4).
func Target(percentage, n int) int { return (percentage*n + 99) / 100 }

// Highest returns the rank of the last of the target devices that come first.
// It sorts ranks.
func Highest(ranks []uint64, target int) uint64 {
	if target >= len(ranks) {
		return ^uint64(0)
	}
	slices.Sort(ranks)
	return ranks[max(0, target-1)]
}

// Rank is a device's place in the order in which PERCENTAGE stages of a plan
// draw devices: pseudo-random, and the same for ever.
func Rank(planARN, device string) uint64 {
	h := sha256.Sum256([]byte(planARN + "\x00" + device))
	return binary.BigEndian.Uint64(h[:8])
}

// Walk is a way through the devices of a fleet, in the order of their ids.
type Walk struct {
	Fleet  int64 // the id of it
	Plan   int64 // in which the devices may have owners
	After  int64 // the device that was looked at last
	Newest int64 // the last that counts
}

// Candidate is a device that a stage may select, and the stage that has it in
// the plan.
type Candidate struct {
	ID     int64
	Name   string
	Stage  int64 // 0: no stage has it
	Status DeviceStatus
}

// Selectable reports whether a stage that writes its rows selects a device: it
// will list it, if it cannot take it over. planARN is that of its plan.
func (s Stage) Selectable(planARN string, c Candidate) bool {
	if s.Selection.Type != ByPercentage {
		return s.Selection.Matches(c.Name)
	}
	if c.Stage != 0 && c.Stage != s.ID {
		return false
	}
	return s.Cut.Highest == ^uint64(0) || Rank(planARN, c.Name) <= s.Cut.Highest
}

// DeploysTo reports whether the stage would deploy to a device that it selects.
func (s Stage) DeploysTo(c Candidate) bool {
	return c.Stage == 0 || (c.Stage == s.ID || s.Selection.Type != ByPercentage) && Row{Status: c.Status}.Retryable()
}

// Rival is an active stage of another plan that deploys to a handle as well.
type Rival struct {
	Plan   string
	Handle string
	Stage  Stage
}
