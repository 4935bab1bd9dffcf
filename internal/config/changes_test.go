package config_test

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/config"
)

func TestWhatMayChangeWhileAServerRunsIsTakenOverAndTheRestIsNamed(t *testing.T) {
	now, newer := config.Default(), config.Default()
	newer.Images = map[string]config.Image{"a": {Command: []string{"x"}}}
	newer.Log.Level, newer.Log.Format = "debug", "json"
	newer.Listen = "127.0.0.1:1"
	newer.Limits.ModelTimeout = config.Duration(time.Second)
	newer.Webhooks = []config.Webhook{{Name: "w"}}
	next, changed, restart := now.Reload(newer)
	slices.Sort(restart)
	if !slices.Equal(changed, []string{"images", "log.level"}) ||
		!slices.Equal(restart, []string{"limits.modelTimeout", "listen", "log.format", "webhooks"}) {
		t.Errorf("changed %v, needing a restart %v", changed, restart)
	}
	if next.Log.Level != "debug" || next.Images["a"].Command == nil || next.Listen != now.Listen {
		t.Errorf("it became %+v", next)
	}
	if _, changed, again := next.Reload(newer); len(changed) != 0 || len(again) != len(restart) {
		t.Errorf("again: %v %v", changed, again)
	}
}
