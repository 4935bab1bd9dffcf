// Command lint holds the sources to what docs/STYLE.md says and neither vet nor
// staticcheck looks at. `go vet -vettool` runs it, so that packages that have
// not changed are not looked at again.
package main

import (
	"github.com/nishanths/exhaustive/passes/exhaustive"
	"github.com/polyfloyd/go-errorlint/errorlint"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"golang.org/x/tools/go/analysis/passes/unusedwrite"
	"golang.org/x/tools/go/analysis/unitchecker"
)

// manyKinds are the types of which a switch may take some and let default take
// the rest: the numbers and types of other people's formats, the types of
// tensors and of members, and kinds of failures. All others, phases, kinds and
// strategies among them, are named in full.
const manyKinds = `^(reflect|google\.golang\.org/.+|github\.com/aws/.+` +
	`|.+/domain/(tensor|fault)|.+/wire/shape|.+/wire/shape/.+|.+/platform/codec)\.`

func main() {
	if err := exhaustive.Analyzer.Flags.Set("typeignore", manyKinds); err != nil {
		panic(err) // the pattern is not one
	}
	unitchecker.Main(
		exhaustive.Analyzer,     // a switch over an enumeration names all of it
		errorlint.NewAnalyzer(), // errors are compared by errors.Is and errors.As, and wrapped by %w
		logs,                    // log messages are constant
		nilness.Analyzer,        // what is nil is not used
		unusedwrite.Analyzer,    // what is written is read
	)
}
