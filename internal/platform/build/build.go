// Package build says which build of Slipway a program is. The programs of one
// build say the same. Comparing versions is not its job.
package build

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Version is the release that the programs are of, or on the way to.
const Version = "0.1.0"

// Line is what a program prints when it is asked for its version: release,
// commit, date of the commit, and the Go release that made it.
func Line(program string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: "of unknown origin"}
	}
	return line(program, info)
}

func line(program string, info *debug.BuildInfo) string {
	commit, date, changed := "unknown", "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.time":
			date = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", changed"
		}
	}
	// Built from the module's archive: the version ends in date and commit.
	if parts := strings.Split(info.Main.Version, "-"); commit == "unknown" && len(parts) >= 3 {
		commit, date = parts[len(parts)-1], parts[len(parts)-2]
		date = date[strings.LastIndexByte(date, '.')+1:]
	}
	return fmt.Sprintf("%s %s (commit %s%s, date %s, %s)", program, Version, commit, changed, date, info.GoVersion)
}
