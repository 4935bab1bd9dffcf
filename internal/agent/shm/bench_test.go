package shm

import "testing"

// What a window of 4 MiB costs: attached, checked, copied, detached.
func BenchmarkReadOf4MB(b *testing.B) {
	id := segment(b, 4<<20, 0o400)
	for name, alloc := range map[string]func(uint64) ([]byte, error){
		"fresh": alloc,
		"kept": func() func(uint64) ([]byte, error) {
			m := make([]byte, 4<<20)
			return func(uint64) ([]byte, error) { return m, nil }
		}(),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 << 20)
			for b.Loop() {
				if _, err := Read(Window{Segment: id}, me(), 0, alloc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
