package alarms

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/arn"
)

// History returns a page of the history of a region's alarms, also of those
// that are gone, and whether more follows; After the last one's Seq. Limit 0 is
// 100.
func (s *Service) History(ctx context.Context, sc arn.Scope, f alarm.HistoryFilter) ([]alarm.HistoryItem, bool, error) {
	f.Region = sc.Region
	f.Limit = cmp.Or(f.Limit, 100)
	return s.Store.History(ctx, f)
}

// configured is the line of history of a change of definition.
func configured(r *alarm.Record, now time.Time, verb string) alarm.HistoryItem {
	kind, member := map[string]string{"created": "Create", "updated": "Update", "deleted": "Delete"}[verb], verb+"Alarm"
	return alarm.HistoryItem{
		Region: r.Region, Alarm: r.Definition.Name, Composite: r.Definition.Composite(),
		At: now, Kind: alarm.ConfigurationUpdate,
		Summary: `Alarm "` + r.Definition.Name + `" ` + verb,
		Data:    document(map[string]any{"version": "1.0", "type": kind, member: r.Definition}),
	}
}

// moved is the line of history of a change of state.
func moved(before *alarm.State, r *alarm.Record, now time.Time) alarm.HistoryItem {
	state := func(s *alarm.State) map[string]any {
		m := map[string]any{"stateValue": s.Value, "stateReason": s.Reason}
		if s.ReasonData != "" {
			m["stateReasonData"] = json.RawMessage(s.ReasonData)
		}
		return m
	}
	return alarm.HistoryItem{
		Region: r.Region, Alarm: r.Definition.Name, Composite: r.Definition.Composite(),
		At: now, Kind: alarm.StateUpdate,
		Summary: "Alarm updated from " + string(before.Value) + " to " + string(r.State.Value),
		Data:    document(map[string]any{"version": "1.0", "oldState": state(before), "newState": state(&r.State)}),
	}
}

// endOfAlarm reads what moved wrote: whether it is about the end of an ALARM,
// and what the reason of that was.
func endOfAlarm(h alarm.HistoryItem) (reason string, over bool) {
	var d struct {
		OldState struct {
			StateValue  alarm.StateValue
			StateReason string
		}
	}
	if err := json.Unmarshal([]byte(h.Data), &d); err != nil {
		return "", false
	}
	return d.OldState.StateReason, d.OldState.StateValue == alarm.StateAlarm
}

func document(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}" // not reached: thresholds are finite, and reasons are checked to be JSON
	}
	return string(b)
}
