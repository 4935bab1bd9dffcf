package app

import (
	"context"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/service/notify"
)

// newNotify tells the store whom to tell of events, drops what was meant for
// webhooks that are no longer configured, and returns what delivers the rest.
func (a *App) newNotify(ctx context.Context) (*notify.Service, error) {
	c := notify.Config{Wake: a.bells.notices, Log: a.log, Registerer: a.metrics}
	var to []store.Subscriber
	for _, w := range a.cfg.Webhooks {
		key, err := notify.SigningKey(string(w.Secret))
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		s := store.Subscriber{Name: w.Name}
		for _, e := range w.Events {
			s.Kinds = append(s.Kinds, notice.Kind(e))
		}
		to = append(to, s)
		c.Webhooks = append(c.Webhooks, notify.Webhook{Name: w.Name, URL: string(w.URL), Key: key, Outbox: a.db.Outbox(w.Name)})
	}
	a.db.Tell(to...)
	n, err := a.db.ForgetOutboxes(ctx)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		a.log.WarnContext(ctx, "events were dropped: their webhooks are no longer configured", "events", n)
	}
	return notify.New(c)
}
