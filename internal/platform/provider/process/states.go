package process

// How a crash at any line is survived.
//
// Each instance has a record, a small file that is replaced atomically, and
// moves through three phases:
//
//	(none) ──▶ starting ──▶ running ──▶ exited ──▶ (none)
//	              ▲                       │
//	              └─────── Ensure ────────┘
//
// starting is written before the process is forked and running, with its pid
// and start time, right after. Three marks find a process whatever happened:
//
//   - pid and start time in the record. The pair names one process for as long
//     as the machine is up, so a reused pid is never mistaken for an instance.
//   - Its working directory and its log, which are files of this directory and
//     not of a copy, and envState in its environment, which its children
//     inherit: the path of its record. The sweep at start and the clean-up after
//     an exit go by them, and what runs is adopted only if it has them: a copy of
//     a data directory has records of processes that are the original's.
//   - A lock on its log, taken before the fork and inherited with standard
//     output. It is held by a process that was forked but has not executed its
//     program yet, and so has no environment of its own to be found by.
//
// The next server keeps a running instance that it finds alive. An instance
// that was only starting when the server died is killed and counts as exited:
// it served nobody yet, and the next Ensure starts it anew. When the first
// process of an instance ends, its children are killed, as in a container.
//
// Beside the instances runs a keeper, which waits for the server to end and then
// bounds their logs in its place (keeper.go). It has no record: the next server
// finds it by what it wrote into the lock that it holds, and ends it.
//
// The lock also finds children that left the process group. One that cleared
// its environment and closed its standard output as well is out of reach.

// Fail points, in the order in which an instance meets them.
const (
	hitIntended  = "process.intended"  // recorded as starting, not forked
	hitForked    = "process.forked"    // forked, pid not recorded
	hitRecorded  = "process.recorded"  // recorded as running, Ensure not returned
	hitSignalled = "process.signalled" // Remove sent SIGTERM
	hitStopped   = "process.stopped"   // Remove saw the end, record still there
	hitForgotten = "process.forgotten" // record gone, Remove not returned
	hitExited    = "process.exited"    // an exit was seen, not recorded
	hitAdopting  = "process.adopting"  // New found what to kill, and has not yet
)

// FailPoints names every step at which package failpoint can kill a server
// that uses this package.
func FailPoints() []string {
	return []string{hitIntended, hitForked, hitRecorded, hitSignalled, hitStopped, hitForgotten, hitExited, hitAdopting}
}
