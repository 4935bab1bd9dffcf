package cli

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/config"
)

func TestDurationsInJSONAreForPeople(t *testing.T) {
	var b strings.Builder
	newLogger(&b, config.Log{Level: "info", Format: "json"}, new(slog.LevelVar)).
		Info("x", "duration", 899*time.Millisecond, slog.Group("g", "wait", 90*time.Second))
	if got := b.String(); !strings.Contains(got, `"duration":"899ms","g":{"wait":"1m30s"}`) {
		t.Error(got)
	}
}
