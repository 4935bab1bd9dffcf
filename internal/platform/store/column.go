package store

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Micros is how a time is written.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// NullMicros writes the zero time as null.
func NullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// Flag is how a bool is written.
func Flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Time reads a column that Micros or NullMicros wrote into t; null is the zero
// time.
func Time(t *time.Time) sql.Scanner { return timeColumn{t} }

type timeColumn struct{ t *time.Time }

// Scan implements sql.Scanner.
func (c timeColumn) Scan(src any) error {
	var n sql.NullInt64
	if err := n.Scan(src); err != nil {
		return err
	}
	*c.t = time.Time{}
	if n.Valid {
		*c.t = time.UnixMicro(n.Int64).UTC()
	}
	return nil
}

// JSON is a column of JSON text: as an argument it writes v, and given to Scan
// it reads into v, which is a pointer then.
func JSON(v any) JSONColumn { return JSONColumn{v} }

// JSONColumn is what JSON returns.
type JSONColumn struct{ v any }

// Value implements driver.Valuer.
func (c JSONColumn) Value() (driver.Value, error) {
	text, err := json.Marshal(c.v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", c.v, err)
	}
	return string(text), nil
}

// Scan implements sql.Scanner.
func (c JSONColumn) Scan(src any) error {
	var err error
	switch text := src.(type) {
	case string:
		err = json.Unmarshal([]byte(text), c.v)
	case []byte:
		err = json.Unmarshal(text, c.v)
	default:
		err = fmt.Errorf("it is %T, no text", src)
	}
	if err != nil {
		return fmt.Errorf("decode %T: %w", c.v, err)
	}
	return nil
}
