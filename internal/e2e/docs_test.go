package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/config"
)

// notRun is how many blocks of the pages are not run. Such a block says so in
// its first line: "# not run by a test: " and why.
const notRun = 0

// Everything that the README and the pages in docs/ tell a person to type works
// as it stands: each page is a session of its own, from its first block to its
// last, in a folder that looks like the repository's.
//
//   - sh is typed into one shell; "sh terminal" into another one, where it goes
//     on until the page is over.
//   - python is a program.
//   - yaml is a configuration, and the file slipway.yaml from there on.
//   - json is read. text is what the block before it prints; an ellipsis (…)
//     stands for anything.
func TestEveryCommandOfThePagesWorks(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	skipped := 0
	for _, path := range append(pages, "../../README.md") {
		blocks := blocksOf(t, path)
		for _, b := range blocks {
			if b.notRun() {
				skipped++
			}
		}
		if !slices.ContainsFunc(blocks, block.runs) {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) {
			t.Parallel()
			newReader(t).follow(blocks)
		})
	}
	if skipped != notRun {
		t.Errorf("%d blocks of the pages are not run, not %d", skipped, notRun)
	}
}

// pagePort is the port that the pages give to a program of one's own. A test
// takes another, which is free.
const pagePort = "8765"

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// block is a fenced block of a page.
type block struct {
	language, text string
	at             string // page and line
}

func (b block) notRun() bool { return strings.HasPrefix(b.text, "# not run by a test: ") }

// runs reports whether the block is typed or started by a reader.
func (b block) runs() bool {
	return !b.notRun() && slices.Contains([]string{"sh", "sh terminal", "python"}, b.language)
}

func blocksOf(t *testing.T, path string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			blocks = append(blocks, block{language: language, at: fmt.Sprintf("%s:%d", filepath.Base(path), i+1)})
			inside = true
		case fence:
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line + "\n"
		case strings.HasPrefix(line, "    "):
			t.Errorf("%s:%d: code has fences, so that it can be run", path, i+1)
		}
	}
	return blocks
}

// reader follows a page in a folder of its own.
type reader struct {
	t      *testing.T
	dir    string
	env    []string
	script strings.Builder
	shell  int // the process group of the session, 0 before it began
}

func newReader(t *testing.T) *reader {
	t.Helper()
	dir, err := os.MkdirTemp("", "docs-") // short: a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, dir: dir}
	t.Cleanup(r.cleanUp)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"models", "examples", "proto", "scripts", "Makefile"} {
		r.link(filepath.Join(root, name), name)
	}
	bin := filepath.Dir(program(t, "slipway"))
	for _, name := range []string{"slipway-agent", "slipway-onnx", "lib"} {
		r.link(filepath.Join(bin, name), "bin/"+name)
	}
	// Pages are followed side by side: no two servers may have one port. One that
	// is started again keeps its own.
	r.program("bin/slipway", fmt.Sprintf(`if [ "$1" = server ]; then
	shift
	exec %[1]s/slipway server "$@" --listen "$(cat slipway-data/address 2>/dev/null || echo 127.0.0.1:0)"
fi
exec %[1]s/slipway "$@"`, bin))
	// What `make` does is tested by its being used: here its targets must be there.
	mk, err := exec.LookPath("make")
	if err != nil {
		t.Fatal(err)
	}
	r.program("path/make", fmt.Sprintf(`exec %s -n -C %s "$@" >/dev/null`, mk, root))
	r.clients()
	return r
}

// clients makes Python and the AWS CLI those that the other tests use. Old ones
// (docs/getting-started.md, "Start a server") do not read AWS_ENDPOINT_URL and
// insist on a role: they get both, as the page says.
func (r *reader) clients() {
	r.t.Helper()
	py, err := exec.LookPath(python(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	r.program("path/python3", "exec "+py+` "$@"`)
	r.env = append(os.Environ(), "PATH="+filepath.Join(r.dir, "path")+":"+os.Getenv("PATH"), "HOME="+r.dir,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "PYTHONDONTWRITEBYTECODE=1")
	if home, err := os.UserHomeDir(); err == nil { // version managers keep their programs there
		r.env = append(r.env, "PYENV_ROOT="+filepath.Join(home, ".pyenv"))
	}
	aws, err := exec.LookPath("aws")
	if err != nil {
		r.t.Fatal(err)
	}
	if !readsEndpointURL(r.t, aws) {
		r.program("path/aws", `if [ "$2" = create-model ]; then
	set -- "$@" --execution-role-arn arn:aws:iam::000000000000:role/any
fi
exec `+aws+` --endpoint-url "$AWS_ENDPOINT_URL" "$@"`)
	}
	const reads = "import botocore; assert tuple(map(int, botocore.__version__.split('.')[:2])) >= (1, 31)"
	if exec.Command(py, "-c", reads).Run() != nil {
		r.write("path/sitecustomize.py", "import boto3, functools, os\n"+
			"boto3.client = functools.partial(boto3.client, endpoint_url=os.environ.get('AWS_ENDPOINT_URL'))\n", 0o600)
		r.env = append(r.env, "PYTHONPATH="+filepath.Join(r.dir, "path"))
	}
}

// readsEndpointURL reports whether an AWS CLI reads AWS_ENDPOINT_URL: 1.29 and
// 2.13 were the first.
func readsEndpointURL(t *testing.T, aws string) bool {
	t.Helper()
	out, err := exec.Command(aws, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "aws-cli/%d.%d", &major, &minor); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return major == 1 && minor >= 29 || major == 2 && minor >= 13 || major > 2
}

func (r *reader) link(to, name string) {
	r.t.Helper()
	r.write(name, "", 0)
	if err := os.Symlink(to, filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) program(name, text string) { r.write(name, "#!/bin/sh\n"+text+"\n", 0o700) }

// write writes a file; with no permissions it makes only the folder.
func (r *reader) write(name, text string, mode os.FileMode) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil && mode != 0 {
		err = os.WriteFile(path, []byte(text), mode)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// follow does what the blocks say, in order.
func (r *reader) follow(blocks []block) {
	r.t.Helper()
	r.script.WriteString("set -euo pipefail\n")
	expected := map[int]block{} // by the block that prints it
	last, port := -1, freePort(r.t)
	for i, b := range blocks {
		if b.notRun() {
			continue
		}
		b.text = strings.ReplaceAll(b.text, pagePort, port)
		switch b.language {
		case "sh":
			r.script.WriteString(marker(i) + b.text)
		case "sh terminal":
			r.script.WriteString(marker(i) + r.terminal(i, b))
		case "python":
			r.write(fmt.Sprintf("block%d.py", i), b.text, 0o600)
			fmt.Fprintf(&r.script, "%spython3 block%d.py\n", marker(i), i)
		case "yaml":
			if _, err := config.Parse([]byte(b.text)); err != nil {
				r.t.Errorf("%s: %v", b.at, err)
			}
			r.write(fmt.Sprintf("block%d.yaml", i), b.text, 0o600)
			fmt.Fprintf(&r.script, "cp block%d.yaml slipway.yaml\n", i)
			continue
		case "json":
			if !json.Valid([]byte(b.text)) {
				r.t.Errorf("%s: not JSON", b.at)
			}
			continue
		case "text":
			if last < 0 {
				r.t.Fatalf("%s: nothing prints this", b.at)
			}
			expected[last] = b
			continue
		case "mermaid":
			continue
		default:
			r.t.Fatalf("%s: nobody knows how to run %q", b.at, b.language)
		}
		last = i
	}
	r.compare(blocks, expected, r.run())
}

// marker announces a block in the output.
func marker(block int) string { return fmt.Sprintf("echo; echo '@@ block %d'\n", block) }

// terminal is a block that goes on by itself, from when it is ready.
func (r *reader) terminal(i int, b block) string {
	ready := "." // an agent's first line
	if strings.Contains(b.text, "slipway server") {
		ready = "slipway is ready"
	}
	return fmt.Sprintf("{\n%s} >terminal%d.log 2>&1 &\n"+
		"for i in $(seq 300); do if grep -qs '%s' terminal%[2]d.log; then break; fi; sleep 0.1; "+
		"done\n", b.text, i, ready)
}

// run types the script into a shell and returns what all of it printed.
func (r *reader) run() string {
	r.t.Helper()
	r.write("script.sh", r.script.String(), 0o600)
	ctx, cancel := context.WithTimeout(r.t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "script.sh")
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err := cmd.Start()
	if err == nil {
		r.shell = cmd.Process.Pid
		err = cmd.Wait()
	}
	out := printed.String()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(r.dir, "*.log")) // the pattern is good
		for _, log := range logs {
			r.t.Logf("%s:\n%s", filepath.Base(log), tail(log, 30))
		}
		r.t.Errorf("%v\n%s", err, out)
	}
	return out
}

// compare looks for what the page shows in what its blocks printed.
func (r *reader) compare(blocks []block, expected map[int]block, out string) {
	r.t.Helper()
	for i, want := range expected {
		_, printed, reached := strings.Cut(out, fmt.Sprintf("@@ block %d\n", i))
		if !reached {
			continue // a failure was told
		}
		printed, _, _ = strings.Cut(printed, "\n@@ block ")
		if !pattern(want.text).MatchString(printed) {
			r.t.Errorf("%s: the block at %s printed\n%s", want.at, blocks[i].at, printed)
		}
	}
}

var spaces = regexp.MustCompile(` +`)

// pattern matches a text in which … stands for anything in a line, and alone
// in a line for any lines. How many spaces there are does not count.
func pattern(text string) *regexp.Regexp {
	var p strings.Builder
	p.WriteString(`(?m)`)
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \n"); line == "…" {
			p.WriteString(`(?s:.*?)`)
			continue
		}
		line = spaces.ReplaceAllString(regexp.QuoteMeta(line), ` +`)
		p.WriteString(`^` + strings.ReplaceAll(line, "…", `.*`) + ` *$\n?`)
	}
	return regexp.MustCompile(p.String())
}

// cleanUp ends what outlives the shell: servers and agents, in order, and the
// models' processes.
func (r *reader) cleanUp() {
	if r.shell != 0 {
		_ = syscall.Kill(-r.shell, syscall.SIGTERM) // all may have ended
		end := time.Now().Add(10 * time.Second)
		for ; syscall.Kill(-r.shell, 0) == nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				r.t.Error("what the page started did not end within 10 s of SIGTERM")
				_ = syscall.Kill(-r.shell, syscall.SIGKILL) // as above
				break
			}
		}
	}
	for _, i := range (&server{t: r.t, dataDir: filepath.Join(r.dir, "slipway-data")}).instances() {
		_ = syscall.Kill(i.pid, syscall.SIGKILL) // it may have ended
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Error(err)
	}
}
