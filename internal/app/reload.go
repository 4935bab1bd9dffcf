package app

import (
	"context"
	"math"

	"github.com/slipway-ml/slipway/internal/config"
)

// Reload takes over what may change while the server runs: the access keys, which
// it reads again, and the keys of the configuration that Config.Reload names.
// What else differs in cfg is logged: it needs a restart. It is called by one
// goroutine at a time.
func (a *App) Reload(ctx context.Context, cfg config.Config) {
	if err := a.keys.Reload(); err != nil {
		a.log.ErrorContext(ctx, "the access keys stay as they were", "err", err)
	}
	next, changed, restart := a.live.Load().Reload(cfg)
	if err := next.Validate(); err != nil { // each file is valid, but not what runs of both
		a.log.ErrorContext(ctx, "the configuration stays as it was: what has changed needs a restart with the rest",
			"err", err, "changed", changed, "keys", restart)
		return
	}
	a.live.Store(&next)
	a.ctl.SetGuardrails(next.Guardrails.MinimumRequests, next.Guardrails.Gates)
	a.admission.takeOver(next.Limits.RequestMemoryBytes)
	a.setLevels(next.Log)
	a.log.InfoContext(ctx, "configuration and access keys were read again", "changed", changed)
	if len(restart) > 0 {
		a.log.WarnContext(ctx, "what else has changed needs a restart", "keys", restart)
	}
}

// setLevels takes over the levels of the records of requests, which Validate has
// checked.
func (a *App) setLevels(l config.Log) {
	_ = a.requestLevel.UnmarshalText([]byte(l.Requests))           // as above
	if a.invocations.UnmarshalText([]byte(l.Invocations)) != nil { // it is off
		a.invocations.Set(math.MinInt)
	}
}
