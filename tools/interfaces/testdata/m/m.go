// Package m has interfaces of no, one and two implementations.
package m

type none interface{ None() }

type one interface{ One(n int) error }

type two interface{ Two(n ...int) }

type a struct{}

func (a) One(int) error { return nil }

func (a) Two(...int) {}
