// Package oip has the messages and stubs of the Open Inference Protocol,
// version 2 (proto/inference/inference.proto). Its form in JSON is
// modelserver/codec's job.
package oip
