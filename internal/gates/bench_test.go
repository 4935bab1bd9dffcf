package main

import "testing"

// BenchmarkBake is what the measurement spends its time on.
func BenchmarkBake(b *testing.B) {
	tables := newTables()
	for _, s := range everything() {
		switch s.name {
		case "same", "same-10", "same-quiet", "same-bursts-10", "busy-lat+15", "counted-hosts":
			b.Run(s.name, func(b *testing.B) {
				for i := range b.N {
					life{s, tables, 1, uint64(i), never}.live()
				}
			})
		}
	}
}
