package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slipway": func() { os.Exit(Main()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"await": await},
	})
}

// await FILE returns once FILE exists.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

func TestAQuotedWordIsReadBackByAShellAsItWas(t *testing.T) {
	for _, s := range []string{"", "plain/+=", "a b", "it's", `$HOME "x" \n`, "a\nb", "`id`", "~", "日本"} {
		out, err := exec.Command("sh", "-c", "v="+quote(s)+`; printf %s "$v"`).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != s {
			t.Errorf("%q was read back as %q", s, out)
		}
	}
}

func TestAServerOnAllAddressesIsReachedByLoopback(t *testing.T) {
	for listen, want := range map[string]string{
		":9400":          "127.0.0.1:9400",
		"0.0.0.0:9400":   "127.0.0.1:9400",
		"[::]:9400":      "127.0.0.1:9400",
		"[::1]:9400":     "[::1]:9400",
		"box.local:9400": "box.local:9400",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s is reached by %s, want %s", listen, got, want)
		}
	}
}

func TestEveryCommandSaysWhatItIsFor(t *testing.T) {
	for _, cmd := range New().Commands() {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.Name(), cmd.Short)
		}
	}
}
