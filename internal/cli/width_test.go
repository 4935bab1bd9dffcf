package cli

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

func TestATableFitsTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 100, 132} {
		p := page{width: width}
		p.table(table.Row{"STARTED", "DEPLOYMENT", "FROM", "TO", "TOOK", "REASON"}, []table.Row{{
			"2026-12-01 06:00:00", "d-0123456789abcdef", strings.Repeat("long-name-", 6), "v2", "1.5s",
			"Alarm errors went into ALARM state: the new fleet answered half of its requests with 500.",
		}}, "TOOK")
		for l := range strings.Lines(p.b.String()) {
			if got := text.StringWidth(strings.TrimSuffix(l, "\n")); got > width {
				t.Errorf("%d columns, more than %d: %s", got, width, l)
			}
		}
	}
}
