// Package m has interfaces of no, one and two implementations.
package m

import "os"

type none interface{ None() }

type one interface{ One(n int) error }

type two interface{ Two(n ...int) }

type alsoAFile interface{ Truncate(size int64) error }

type a struct{ f *os.File }

func (a) Truncate(int64) error { return nil }

func (a) One(int) error { return nil }

func (a) Two(...int) {}
