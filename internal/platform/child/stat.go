package child

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc; Linux has the same everywhere.
const tick = 10 * time.Millisecond

// Stat is what the kernel says of a process at one moment.
type Stat struct {
	State    byte
	Session  int           // whose leader's id it is
	CPU      time.Duration // its own
	EndedCPU time.Duration // of its children that ended
	Start    uint64        // clock ticks since the machine started
	Resident int64         // bytes of memory, those that it shares with others included
	Exit     int           // wait status of a zombie, -1 if the kernel does not tell
}

// Dead reports whether the process ended. A zombie did: where no init collects
// orphans it stays for ever.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// ReadStat asks for the Stat of a process.
func ReadStat(pid int) (Stat, error) {
	b, err := os.ReadFile(dir(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return parseStat(b)
}

// parseStat reads the fields after the program's name, which may itself hold
// spaces and parentheses (proc(5)).
func parseStat(b []byte) (s Stat, err error) {
	const first, last, exitCode = 3, 24, 52 // fields, as proc(5) numbers them from 1
	_, rest, ok := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(") "))
	f := strings.Fields(string(rest))
	if !ok || len(f) <= last-first || len(f[0]) != 1 {
		return s, fmt.Errorf("unreadable process status %.80q", b)
	}
	number := func(field int) int64 {
		n, e := strconv.ParseInt(f[field-first], 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("unreadable process status: field %d: %w", field, e)
		}
		return n
	}
	s = Stat{
		State: f[0][0], Session: int(number(6)), Start: uint64(number(22)), Exit: -1,
		CPU:      time.Duration(number(14)+number(15)) * tick,
		EndedCPU: time.Duration(number(16)+number(17)) * tick,
		Resident: number(last) * int64(os.Getpagesize()),
	}
	if len(f) > exitCode-first { // only for who may trace the process
		if n, err := strconv.Atoi(f[exitCode-first]); err == nil {
			s.Exit = n
		}
	}
	return s, err
}

// Alive reports whether the process that started then is still there.
func Alive(pid int, start uint64) bool {
	s, err := ReadStat(pid)
	if err != nil || s.Start != start {
		return false
	}
	if s.State == 'Z' { // perhaps only its first thread has ended
		return len(Threads(pid)) > 1
	}
	return !s.Dead()
}

// BootID names this boot of the machine. Start times are counted from it: pid,
// start time and boot name one process for good.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("this machine has no usable /proc: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Memory returns the sum, in bytes, of fields of a process's status such as
// VmRSS, VmHWM, RssAnon; those that the kernel does not have count as nothing.
func Memory(pid int, fields ...string) (sum int64) {
	b, _ := os.ReadFile(dir(pid) + "/status") // it has ended and holds nothing
	for _, field := range fields {
		n, _ := kibibytes(b, field) // as above
		sum += n
	}
	return sum
}
