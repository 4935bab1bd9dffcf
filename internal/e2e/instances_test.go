package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// instance is a running model process of a server.
type instance struct {
	id  string
	pid int
}

// instances finds the processes that belong to the server's data directory, by
// the environment they were given: the kernel's account, not Slipway's own. The
// dead and the dying have no environment, so they do not count.
func (s *server) instances() []instance {
	var found []instance
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range procs {
		env, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile, or is another user's
		}
		id, state := "", ""
		for entry := range bytes.SplitSeq(env, []byte{0}) {
			key, value, _ := strings.Cut(string(entry), "=")
			switch key {
			case "SLIPWAY_INSTANCE_ID":
				id = value
			case "SLIPWAY_INSTANCE_STATE":
				state = value
			}
		}
		if id == "" || !strings.HasPrefix(state, s.dataDir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, instance{id, pid})
	}
	return found
}

// journaled returns the inference ids that an instance of testmodel took, in
// order, whether or not it lived to answer them.
func (s *server) journaled(id string) []string {
	text, err := os.ReadFile(filepath.Join(s.journal, id))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(text)) {
		inference, _, _ := strings.Cut(line, " ")
		ids = append(ids, inference)
	}
	return ids
}

// gone reports whether a process has ended and its sockets with it. The first
// thread of a process may be a zombie while others, on their way out, still hold
// its files.
func gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	// pid (name) state …; the name may hold anything, even parentheses.
	_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	return err != nil || len(threads) <= 1 && (strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X"))
}
