package app

import (
	"context"
	"fmt"
	"strconv"

	"github.com/slipway-ml/slipway/internal/platform/provider/process"
)

// KeepLogsCommand names the command of this program that runs KeepLogs.
const KeepLogsCommand = "keep-logs"

// KeepLogs bounds the logs of the instances in a directory to a number of bytes
// each while no server runs, and returns when nobody is left to write to them.
func KeepLogs(ctx context.Context, dir, bytes string) error {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil {
		return fmt.Errorf("the limit %q is not a number of bytes", bytes)
	}
	return process.KeepLogs(ctx, dir, n)
}
