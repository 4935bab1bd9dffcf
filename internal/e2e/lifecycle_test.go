package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/config"
)

func TestBoto3RunsTheWholeLifeOfAnEndpoint(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.client(python(t), "testdata/py/lifecycle.py", s.modelData("v1"), s.modelData("v2"))
	eventually(t, 30*time.Second, "no instance is left", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

func TestBoto3SeesTheAPIsOwnErrors(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(c *config.Config) { c.Limits.StartupWindow = config.Duration(5 * time.Second) })
	s.client(python(t), "testdata/py/errors.py", s.modelData("v1"))
	eventually(t, 30*time.Second, "no instance is left", func() bool { return len(s.instances()) == 0 })
	s.stop()
}

// installedJS gets the JavaScript SDK, unless what its lock file names is there.
// The lock file pins what is installed; no package's scripts run.
var installedJS = sync.OnceValue(func() error {
	wanted, err := os.ReadFile("testdata/js/package-lock.json")
	if err != nil {
		return err
	}
	const installed = "testdata/js/node_modules/.installed"
	if got, err := os.ReadFile(installed); err == nil && bytes.Equal(got, wanted) {
		return nil
	}
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	install.Dir = "testdata/js"
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return os.WriteFile(installed, wanted, 0o600)
})

func installJS(t *testing.T) {
	t.Helper()
	if err := installedJS(); err != nil {
		t.Fatal(err)
	}
}

func TestTheJavaScriptSDKRunsTheWholeLifeOfAnEndpoint(t *testing.T) {
	t.Parallel()
	installJS(t)
	s := startServer(t)
	s.client("node", "testdata/js/lifecycle.mjs", s.modelData("v1"), s.modelData("v2"))
	s.stop()
}

// The command line of AWS, as a person would type it.
func TestTheAWSCommandLineRunsTheWholeLifeOfAnEndpoint(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	aws := s.aws()

	aws.s3(t)
	for _, v := range []string{"v1", "v2"} {
		aws.ok("s3", "cp", s.modelData(v), "s3://cli-models/"+v+"/model.tar.gz")
		aws.ok("sagemaker", "create-model", "--model-name", "cli-"+v, "--execution-role-arn",
			"arn:aws:iam::123456789012:role/any",
			"--primary-container", "Image="+testImage+",ModelDataUrl=s3://cli-models/"+v+"/model.tar.gz")
		aws.ok("sagemaker", "create-endpoint-config", "--endpoint-config-name", "cli-"+v, "--production-variants",
			"VariantName=main,ModelName=cli-"+v+",InitialInstanceCount=1,InstanceType=ml.m5.large")
	}
	aws.ok("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli-v1")
	aws.awaitStatus("InService")
	aws.wantAnswer("v1")
	aws.ok("sagemaker", "update-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli-v2")
	aws.awaitStatus("InService")
	aws.wantAnswer("v2")

	arn := "arn:aws:sagemaker:us-east-1:123456789012:endpoint/cli"
	aws.ok("sagemaker", "add-tags", "--resource-arn", arn, "--tags", "Key=team,Value=ships")
	if got := aws.ok(
		"sagemaker", "list-tags", "--resource-arn", arn, "--query", "Tags[0].Value", "--output", "text",
	); got != "ships" {
		t.Errorf("the tag is %q", got)
	}
	// A line for each page.
	names := aws.ok(
		"sagemaker", "list-models", "--query", "Models[].ModelName", "--sort-by", "Name", "--sort-order", "Ascending",
		"--page-size", "1", "--output", "text",
	)
	if got := strings.Fields(names); !slices.Equal(got, []string{"cli-v1", "cli-v2"}) {
		t.Errorf("the models are %q", got)
	}
	if got := aws.ok("sts", "get-caller-identity", "--query", "Account", "--output", "text"); got != "123456789012" {
		t.Errorf("the account is %q", got)
	}
	out := aws.fails("sagemaker", "describe-endpoint", "--endpoint-name", "nope")
	if want := `An error occurred (ValidationException) when calling the DescribeEndpoint operation: Could not find ` +
		`endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/nope".`; !strings.Contains(out, want) {
		t.Errorf("got %q, want %q", out, want)
	}

	aws.ok("sagemaker", "delete-endpoint", "--endpoint-name", "cli")
	aws.ok("sagemaker", "wait", "endpoint-deleted", "--endpoint-name", "cli")
	for _, v := range []string{"v1", "v2"} {
		aws.ok("sagemaker", "delete-endpoint-config", "--endpoint-config-name", "cli-"+v)
		aws.ok("sagemaker", "delete-model", "--model-name", "cli-"+v)
	}
	s.stop()
}

// s3 uses every verb of `aws s3`.
func (c *awsCLI) s3(t *testing.T) {
	dir := filepath.Join(c.s.dir, "tree")
	for name, size := range map[string]int{"a.txt": 3, "sub/b.txt": 5, "sub/big.bin": 12 << 20} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.ok("s3", "mb", "s3://cli-models")
	c.ok("s3", "sync", dir, "s3://cli-models/tree")
	if again := c.ok("s3", "sync", dir, "s3://cli-models/tree"); again != "" {
		t.Errorf("a second sync had something to do: %s", again)
	}
	list := c.ok("s3", "ls", "--recursive", "s3://cli-models/tree/")
	for _, want := range []string{"3 tree/a.txt", "5 tree/sub/b.txt", strconv.Itoa(12<<20) + " tree/sub/big.bin"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not listed:\n%s", want, list)
		}
	}
	back := filepath.Join(c.s.dir, "back")
	c.ok("s3", "sync", "s3://cli-models/tree", back)
	if out, err := exec.Command("diff", "-r", dir, back).CombinedOutput(); err != nil {
		t.Errorf("what came back differs: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "a.txt")); err != nil {
		t.Fatal(err)
	}
	if out := c.ok("s3", "sync", "--delete", dir, "s3://cli-models/tree"); !strings.Contains(
		out, "delete: s3://cli-models/tree/a.txt",
	) {
		t.Errorf("sync --delete printed %q", out)
	}
	c.ok("s3", "rm", "--recursive", "s3://cli-models/tree")
	c.fails("s3", "ls", "s3://cli-models/tree/") // exits 1 when there is nothing
}

// awsCLI is the AWS command line against a server.
type awsCLI struct{ s *server }

func (s *server) aws() *awsCLI { return &awsCLI{s} }

// arguments names the endpoint, which older versions do not read from the
// environment.
func (c *awsCLI) arguments(args []string) []string {
	return append([]string{"--endpoint-url", c.s.url}, args...)
}

func (c *awsCLI) ok(args ...string) string {
	c.s.t.Helper()
	return strings.TrimSpace(c.s.client("aws", c.arguments(args)...))
}

func (c *awsCLI) fails(args ...string) string {
	c.s.t.Helper()
	out, err := c.s.tryClient("aws", c.arguments(args)...)
	if err == nil {
		c.s.t.Fatalf("aws %s succeeded: %s", strings.Join(args, " "), out)
	}
	return out
}

// awaitStatus does not use the CLI's waiter: it polls every 30 seconds.
func (c *awsCLI) awaitStatus(want string) {
	c.s.t.Helper()
	got := ""
	eventually(c.s.t, time.Minute, "the endpoint is "+want, func() bool {
		got = c.ok(
			"sagemaker", "describe-endpoint", "--endpoint-name", "cli", "--query", "EndpointStatus", "--output", "text",
		)
		return got == want || got == "Failed"
	})
	if got != want {
		c.s.t.Fatalf("the endpoint is %s", got)
	}
}

func (c *awsCLI) wantAnswer(name string) {
	c.s.t.Helper()
	file, body := filepath.Join(c.s.dir, "answer"), filepath.Join(c.s.dir, "body")
	if err := os.WriteFile(body, []byte("ahoy"), 0o600); err != nil {
		c.s.t.Fatal(err)
	}
	c.ok(
		"sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "cli", "--content-type", "text/plain", "--body",
		"fileb://"+body, file,
	)
	text, err := os.ReadFile(file)
	if err != nil {
		c.s.t.Fatal(err)
	}
	var a struct{ Name string }
	if err := json.Unmarshal(text, &a); err != nil || a.Name != name {
		c.s.t.Fatalf("the endpoint answered %q, want %s", text, name)
	}
}

// modelData writes model data for testmodel: it will answer with the name.
func (s *server) modelData(name string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name+".tar.gz")
	if err := os.WriteFile(path, archive(s.t, map[string]string{"name": name}), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// python finds an interpreter that has boto3: the machine's own, or Debian's.
func python(t testing.TB) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import boto3").Run() == nil {
			return p
		}
	}
	t.Fatal("no Python with boto3 was found: run scripts/setup.sh test")
	return ""
}
