package app

import (
	"context"
	"fmt"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/service/notify"
)

// subscribers are the webhooks as the store knows them.
func subscribers(webhooks []config.Webhook) (out []notice.Subscriber) {
	for _, w := range webhooks {
		s := notice.Subscriber{Name: w.Name}
		for _, e := range w.Events {
			s.Kinds = append(s.Kinds, notice.Kind(e))
		}
		out = append(out, s)
	}
	return out
}

// newNotify drops the events of webhooks that are no longer configured, and
// returns what delivers the others'.
func (a *App) newNotify(ctx context.Context) (*notify.Service, error) {
	c := notify.Config{Wake: a.wakeups.notices, Log: a.log, Registerer: a.registry}
	for _, w := range a.cfg.Webhooks {
		key, err := notify.SigningKey(string(w.Secret))
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		outbox := a.hosting.Outbox(w.Name)
		c.Webhooks = append(c.Webhooks, notify.Webhook{Name: w.Name, URL: string(w.URL), Key: key, Outbox: outbox})
	}
	n, err := a.hosting.ForgetOutboxes(ctx)
	switch {
	case err != nil: // the next start drops them
		a.log.WarnContext(ctx, "events of webhooks that are no longer configured were not dropped", "err", err)
	case n > 0:
		a.log.WarnContext(ctx, "events were dropped: their webhooks are no longer configured", "events", n)
	}
	return notify.New(c)
}
