//go:build race

package device_test

// The detector makes the tests of one goroutine ten times slower and finds
// nothing in them.
const raceEnabled = true
