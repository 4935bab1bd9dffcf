// Package deps keeps modules in go.mod until the code that uses them is there.
package deps

import (
	_ "github.com/aws/aws-sdk-go-v2/service/iot"
	_ "github.com/secure-systems-lab/go-securesystemslib/dsse"
	_ "google.golang.org/grpc"
	_ "google.golang.org/grpc/health"
)
