// Package e2e holds the end-to-end tests: a real server process, real model
// containers and unmodified AWS clients. It promises nothing to other packages;
// what can be tested without a process is not its job.
package e2e
