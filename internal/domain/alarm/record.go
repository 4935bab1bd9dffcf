package alarm

import "time"

// Record is an alarm as it is kept.
type Record struct {
	Region     string
	Definition Definition
	State      State
	Configured time.Time // when Definition was last put
	Version    int64     // of all changes of alarms, so that it grows also when a name is used again
}

// HistoryKind is what a line of an alarm's history is about, in the API's words.
type HistoryKind string

// The kinds of history that Slipway writes; it carries out no actions.
const (
	ConfigurationUpdate HistoryKind = "ConfigurationUpdate"
	StateUpdate         HistoryKind = "StateUpdate"
)

// HistoryItem is a line of an alarm's history; it outlives the alarm.
type HistoryItem struct {
	Seq       int64 // in the order in which things happened
	Region    string
	Alarm     string
	Composite bool
	At        time.Time
	Kind      HistoryKind
	Summary   string
	Data      string // JSON
}

// HistoryFilter selects lines of history. Zero members do not filter.
type HistoryFilter struct {
	Region    string
	Alarm     string
	Composite *bool
	Kind      HistoryKind
	From      time.Time // inclusive
	Until     time.Time // exclusive
	Ascending bool      // oldest first
	Limit     int
	After     int64 // Seq of the last line of the page before
}
