// Package docs keeps the pages true: its tests find every link, path and name
// that a page mentions, and write the reference of the configuration from the
// code. That the commands on the pages work is tested in internal/e2e.
package docs

//go:generate go test . -run ListsEvery -update
