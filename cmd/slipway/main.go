// Command slipway is the server and everything a person types to use it.
package main

import (
	"os"

	"github.com/slipway-ml/slipway/internal/cli"
)

func main() { os.Exit(cli.Main()) }
