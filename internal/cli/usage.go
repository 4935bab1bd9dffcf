package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-ml/slipway/internal/domain/spelling"
)

// arguments checks those of a command against its usage line: words in
// capitals are arguments, and those in brackets may be left out.
func arguments(cmd *cobra.Command, args []string) error {
	var names []string
	needed := 0
	words := strings.Fields(cmd.Use)
	for i, word := range words[1:] {
		if strings.HasPrefix(words[i], "--") {
			continue // the value of a flag
		}
		if name := strings.Trim(word, "[]"); name == strings.ToUpper(name) {
			names = append(names, name)
			if name == word {
				needed++
			}
		}
	}
	usage := "\nusage: " + cmd.UseLine()
	switch {
	case len(args) < needed:
		verb := "is"
		if needed-len(args) > 1 {
			verb = "are"
		}
		return fmt.Errorf("%s %s missing%s", strings.Join(names[len(args):needed], " and "), verb, usage)
	case len(args) <= len(names):
		return nil
	case cmd.HasSubCommands():
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), suggestion(cmd, args[0]))
	}
	return fmt.Errorf("unexpected argument %q%s", args[len(names)], usage)
}

// suggestion names the command that was meant, or says where all are listed.
func suggestion(cmd *cobra.Command, word string) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if name := spelling.Nearest(word, names); name != "" {
		return fmt.Sprintf("; did you mean %q?", cmd.CommandPath()+" "+name)
	}
	return fmt.Sprintf("; '%s --help' lists them", cmd.CommandPath())
}

// flagError says of a flag that does not exist which one was meant.
func flagError(cmd *cobra.Command, err error) error {
	word, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if name := spelling.Nearest(word, names); name != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, name)
	}
	return fmt.Errorf("%w; '%s --help' lists them", err, cmd.CommandPath())
}
