package child

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// MachineMemory returns the bytes of memory that the machine has, and those
// that it could still give; ok is false where the kernel does not say.
func MachineMemory() (total, available int64, ok bool) {
	b, _ := os.ReadFile("/proc/meminfo") // without it, none is found
	total, has := kibibytes(b, "MemTotal")
	available, ok = kibibytes(b, "MemAvailable")
	return total, available, ok && has
}

// MachineCPU returns the clock ticks that all processors have worked since the
// machine started, and those that they were there; zeros where the kernel does
// not say.
func MachineCPU() (busy, all uint64) {
	text, _ := os.ReadFile("/proc/stat") // without it, there is no line
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	// user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in user already.
	const idle, iowait, steal = 3, 4, 7
	for i, f := range fields[min(1, len(fields)):] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil || i > steal {
			break
		}
		all += n
		if i != idle && i != iowait {
			busy += n
		}
	}
	return busy, all
}

// OOMKills counts the processes that the kernel has killed for lack of memory,
// of the machine or of a control group.
func OOMKills() int64 {
	b, _ := os.ReadFile("/proc/vmstat") // a kernel without it counts none
	n, _ := Counter(b, "oom_kill")      // as above
	return n
}

// Counter reads one of the lines "name value" that many files of the kernel are
// made of.
func Counter(text []byte, name string) (n int64, ok bool) {
	return number(text, name+" ")
}

// kibibytes reads the line "field:   1234 kB", as bytes.
func kibibytes(text []byte, field string) (n int64, ok bool) {
	n, ok = number(text, field+":")
	return n << 10, ok
}

// number reads the number behind what a line begins with.
func number(text []byte, prefix string) (n int64, ok bool) {
	for line := range bytes.Lines(text) {
		if rest, found := bytes.CutPrefix(line, []byte(prefix)); found {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(string(bytes.TrimSpace(rest)), "kB")), 10,
				64)
			return n, err == nil
		}
	}
	return 0, false
}
