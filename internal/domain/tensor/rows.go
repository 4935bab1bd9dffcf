package tensor

// Rows says what is known, before it runs, of whether a model computes each row
// of its inputs, their first dimension, from that row alone.
type Rows struct {
	Declared Declared
	Mixed    string // why the graph does not show that it does; "" if it does
}

// Declared is what the model's author says of its rows.
type Declared uint8

// The declarations.
const (
	Undeclared  Declared = iota
	Independent          // each row is computed from itself alone
	Dependent            // rows of one request may depend on each other
	Tolerant             // as Independent, and callers take answers that differ by rounding
)
