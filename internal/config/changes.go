package config

import (
	"reflect"
	"slices"
	"strings"
)

// reloadable are the keys that a server takes over while it runs.
var reloadable = []string{
	"images", "log.level", "log.requests", "log.invocations", "guardrails.minimumRequests", "guardrails.gates",
	"limits.lameDuck", "limits.drainTimeout", "limits.uploadLifetime", "limits.requestMemoryBytes",
}

// Reload returns c with what a running server takes over from a newer
// configuration, and the keys in which they differ: those that are taken over, and
// those that need a restart.
func (c Config) Reload(newer Config) (next Config, changed, restart []string) {
	for _, key := range changes("", reflect.ValueOf(c), reflect.ValueOf(newer)) {
		if slices.Contains(reloadable, key) {
			changed = append(changed, key)
		} else {
			restart = append(restart, key)
		}
	}
	take("", reflect.ValueOf(&c).Elem(), reflect.ValueOf(newer))
	return c, changed, restart
}

// take gives the reloadable keys of a struct the values that they have in another.
func take(prefix string, to, from reflect.Value) {
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		switch {
		case slices.Contains(reloadable, prefix+name):
			to.Field(i).Set(from.Field(i))
		case to.Field(i).Kind() == reflect.Struct:
			take(prefix+name+".", to.Field(i), from.Field(i))
		}
	}
}

// changes returns the keys of a struct in which two values differ.
func changes(prefix string, a, b reflect.Value) (keys []string) {
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		switch {
		case a.Field(i).Kind() == reflect.Struct:
			keys = append(keys, changes(prefix+name+".", a.Field(i), b.Field(i))...)
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			keys = append(keys, prefix+name)
		}
	}
	return keys
}
