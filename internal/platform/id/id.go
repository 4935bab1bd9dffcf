// Package id makes names that were never used before. What a name means is
// not its job.
package id

import (
	"crypto/rand"
	"encoding/hex"
)

// New returns a letter, for people, and 80 random bits: "d-0123456789abcdef0123".
// It is fit to name a process, a container or a pod.
func New(letter string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return letter + "-" + hex.EncodeToString(b[:])
}
