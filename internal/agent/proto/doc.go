// Package proto has, in the folders below it, the Go code of the protocols that
// the agent speaks with applications on its device. It is made of the .proto
// files under proto/ at the root of the repository; speaking them is serve's
// job.
package proto

//go:generate go -C ../../../tools run ./genproto
