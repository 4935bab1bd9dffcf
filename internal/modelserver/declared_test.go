package modelserver

import (
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// An answer is bit for bit what the request gets alone, unless it was declared that
// it need not be: that rows are independent says nothing of their last digits.
func TestOnlyATolerantDeclarationAllowsDifferencesByRounding(t *testing.T) {
	for name, c := range map[string]struct {
		declared tensor.Declared
		mixed    string
		rounds   bool
		batches  bool
	}{
		"nothing is declared":                          {tensor.Undeclared, "", false, true},
		"nothing is declared, and it rounds":           {tensor.Undeclared, "", true, false},
		"nothing is declared, by a graph that may mix": {tensor.Undeclared, "Einsum", false, false},
		"independent":                                  {tensor.Independent, "Einsum", false, true},
		"independent, and it rounds":                   {tensor.Independent, "", true, false},
		"tolerant":                                     {tensor.Tolerant, "Einsum", false, true},
		"tolerant, and it rounds":                      {tensor.Tolerant, "Einsum", true, true},
		"dependent":                                    {tensor.Dependent, "", false, false},
	} {
		m := newLever()
		m.rows, m.rounds = tensor.Rows{Declared: c.declared, Mixed: c.mixed}, c.rounds
		if got := proveBatching(m, Default()); got.allowed != c.batches {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
