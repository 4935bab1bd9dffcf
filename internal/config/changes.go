package config

import (
	"reflect"
	"slices"
	"strings"
)

// reloadable are the keys that a server takes over while it runs.
var reloadable = []string{"images", "log.level"}

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
	c.Images, c.Log.Level = newer.Images, newer.Log.Level
	return c, changed, restart
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
