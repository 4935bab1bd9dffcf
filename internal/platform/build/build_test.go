package build

import (
	"runtime/debug"
	"testing"
)

func TestAVersionHasCommitAndDate(t *testing.T) {
	setting := func(pairs ...string) (all []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	for name, c := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"a checkout": {
			debug.BuildInfo{GoVersion: "go1.26", Settings: setting(
				"vcs.revision", "0123456789abcdef0123", "vcs.time", "2026-12-01T06:00:00Z", "vcs.modified", "false",
			)},
			"slipway 0.1.0 (commit 0123456789ab, date 2026-12-01T06:00:00Z, go1.26)",
		},
		"a changed one": {
			debug.BuildInfo{GoVersion: "go1.26", Settings: setting(
				"vcs.revision", "0123456789abcdef0123", "vcs.time", "2026-12-01T06:00:00Z", "vcs.modified", "true",
			)},
			"slipway 0.1.0 (commit 0123456789ab, changed, date 2026-12-01T06:00:00Z, go1.26)",
		},
		"a module": {
			debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v0.1.1-0.20261201060000-0123456789ab"}},
			"slipway 0.1.0 (commit 0123456789ab, date 20261201060000, go1.26)",
		},
		"nothing": {
			debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"}},
			"slipway 0.1.0 (commit unknown, date unknown, go1.26)",
		},
	} {
		if got := line("slipway", &c.info); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}
