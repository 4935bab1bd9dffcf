package gate

import (
	"fmt"
	"strings"
)

// Unread are pairs of answers in which nothing was compared, though both fleets
// answered: how many, by why. It is stored as JSON.
type Unread struct {
	Blank int64 `json:"blank,omitempty"` // neither answer has what the gate compares
	Long  int64 `json:"long,omitempty"`  // an answer is too long
	// Loose are answers of which no more is known than whether they are equal: texts,
	// and what could not be read. One model may answer so twice and differ.
	Loose int64 `json:"loose,omitempty"`
}

// Add adds what m counted.
func (u *Unread) Add(m Unread) {
	u.Blank, u.Long, u.Loose = u.Blank+m.Blank, u.Long+m.Long, u.Loose+m.Loose
}

// Uncompared is which part of the pairs was not compared, for want of room or
// because nothing in them could be, 0 to 1. Those that were may be the easy ones.
func (s Seen) Uncompared() float64 {
	if s.Unseen >= 1 {
		return 1
	}
	n := float64(s.New.Requests)
	not := n*s.Unseen/(1-s.Unseen) + float64(s.Unread.Blank+s.Unread.Long+s.Unread.Loose)
	if not == 0 {
		return 0
	}
	return not / (n + not)
}

// Unread says in how many answers g compared nothing, and why, as sentences.
func (g Gate) Unread(f Fact) (said []string) {
	for i, o := range g.Outputs {
		if f.Seen.Sized>>i&1 == 1 && o.Selector != "bytes" {
			said = append(said, fmt.Sprintf("Of %s only the size of the answers is compared: most of the old fleet's "+
				"have no such part, or are longer than 64 KiB.", o.Selector))
		}
	}
	u := f.Seen.Unread
	if u.Blank > 0 {
		names := make([]string, len(g.Outputs))
		for i, o := range g.Outputs {
			names[i] = o.Selector
		}
		said = append(said, fmt.Sprintf("In %s nothing was compared: neither has %s.", answers(u.Blank),
			orElse(strings.Join(names, " or "), "anything in it")))
	}
	if u.Long > 0 {
		said = append(said, fmt.Sprintf("In %s nothing was compared: one is longer than 1 MiB.", answers(u.Long)))
	}
	if u.Loose > 0 {
		said = append(said, fmt.Sprintf("In %s nothing was compared: they are texts, or could not be read, and that "+
			"such answers are not equal undoes no deployment; output= can name a part.", answers(u.Loose)))
	}
	return said
}

func answers(n int64) string {
	if n == 1 {
		return "1 pair of answers"
	}
	return thousands(n) + " pairs of answers"
}
