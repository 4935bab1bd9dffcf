package process

import (
	"path/filepath"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/child"
	"github.com/slipway-ml/slipway/internal/platform/provider"
)

// owner is whose a process is.
type owner int

const (
	unknown owner = iota // nothing tells, or the kernel does not let us look
	ours                 // of an instance of this directory
	others               // of an instance of another directory, perhaps of the one that this is a copy of
)

// owner finds out whether a process belongs to the instance id of this directory.
// What the kernel has open for it counts first: its working directory and its
// log are this directory's own files, wherever this was moved to, and a copy's
// are not. A program that left both is known by its environment, which names a
// path: whoever lies there now has it.
func (p paths) owner(pid int, id provider.ID) owner {
	for _, mark := range []struct{ link, own, suffix string }{
		{"cwd", p.work(id), "/work/" + string(id)},
		{"fd/1", p.log(id), "/logs/" + string(id) + ".log"},
		{"fd/2", p.log(id), "/logs/" + string(id) + ".log"},
	} {
		to, same := child.Opened(pid, mark.link, mark.own)
		if same {
			return ours
		}
		if strings.HasSuffix(to, mark.suffix) {
			return others
		}
	}
	if path := child.Env(pid, envState); path == p.record(id) {
		return ours
	} else if path != "" && filepath.Base(path) == filepath.Base(p.record(id)) {
		return others
	}
	return unknown
}

// owns reports whether a process belongs to any instance of this directory, and
// to which.
func (p paths) owns(pid int) (provider.ID, bool) {
	id := provider.ID(child.Env(pid, envID))
	return id, validID(id) && p.owner(pid, id) == ours
}
