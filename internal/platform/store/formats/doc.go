// Package formats holds the tests that keep stored data readable: databases
// that earlier programs filled, and documents as earlier releases wrote them.
// README.md beside it says how a release adds its own. Testing what the store
// does is not its job.
package formats
