package edge

import (
	"crypto/sha256"
	"encoding/binary"
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
	Type         SubsetType
	Percentage   int      `json:",omitempty"`
	Names        []string `json:",omitempty"`
	NameContains string   `json:",omitempty"`
}

// Check judges a selection, and returns it without repeated names.
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
	member := map[SubsetType]string{ByPercentage: "Percentage between 1 and 100", ByName: "DeviceNames that is not empty", ByNameContains: "DeviceNameContains"}[s.Type]
	if !own {
		return s, fault.New(fault.Invalid, "DeviceSelectionConfig with DeviceSubsetType %s needs a %s.", s.Type, member)
	}
	if others {
		return s, fault.New(fault.Invalid, "DeviceSelectionConfig with DeviceSubsetType %s takes no other selection member.", s.Type)
	}
	if s.Type == ByName {
		names := slices.Clone(s.Names)
		slices.Sort(names)
		s.Names = slices.Compact(names)
	}
	return s, nil
}

// Takes reports whether the selection is of a device of that name, for the two
// types that name their devices.
func (s Selection) Takes(name string) bool {
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

// Rank is a device's place in the order in which PERCENTAGE stages of a plan
// draw devices: pseudo-random, and the same for ever.
func Rank(planARN, device string) uint64 {
	h := sha256.Sum256([]byte(planARN + "\x00" + device))
	return binary.BigEndian.Uint64(h[:8])
}
