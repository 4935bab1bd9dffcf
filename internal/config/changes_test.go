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
	newer.Log.Requests = "debug"
	newer.Guardrails.MinimumRequests, newer.Guardrails.Gates = 7, map[string]string{"errors": "action=rollback"}
	newer.Limits.RequestMemoryBytes = 1 << 40
	next, changed, restart := now.Reload(newer)
	slices.Sort(restart)
	if !slices.Equal(changed, []string{
		"images", "limits.requestMemoryBytes", "log.level", "log.requests", "guardrails.minimumRequests",
		"guardrails.gates",
	}) ||
		!slices.Equal(restart, []string{"limits.modelTimeout", "listen", "log.format", "webhooks"}) {
		t.Errorf("changed %v, needing a restart %v", changed, restart)
	}
	if next.Log.Level != "debug" || next.Images["a"].Command == nil || next.Listen != now.Listen ||
		next.Guardrails.MinimumRequests != 7 || next.Limits.RequestMemoryBytes != 1<<40 ||
		next.Log.Requests != "debug" || next.Limits.ModelTimeout != now.Limits.ModelTimeout {
		t.Errorf("it became %+v", next)
	}
	if _, changed, again := next.Reload(newer); len(changed) != 0 || len(again) != len(restart) {
		t.Errorf("again: %v %v", changed, again)
	}
}
