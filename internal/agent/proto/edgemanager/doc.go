// Package edgemanager has the messages and stubs of the Edge Manager protocol
// (proto/edgemanager/agent.proto). Importing it registers them by name, so no
// other copy of that protocol can live in the same program.
package edgemanager
