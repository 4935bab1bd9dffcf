package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// terraformMirror names a filesystem mirror of Terraform's providers that holds
// hashicorp/aws: no test fetches anything.
const terraformMirror = "SLIPWAY_TERRAFORM_MIRROR"

// terraform is the real program with the real AWS provider, in a folder of its own.
type terraform struct {
	s   *server
	dir string
	env []string
}

// newTerraform makes text the configuration, below the provider's. A machine
// without the program or its provider skips the test.
func newTerraform(s *server, text string) *terraform {
	s.t.Helper()
	mirror := os.Getenv(terraformMirror)
	if _, err := exec.LookPath("terraform"); err != nil || mirror == "" {
		s.t.Skipf("SKIPPED: needs terraform, and its AWS provider in a mirror that %s names", terraformMirror)
	}
	tf := &terraform{s: s, dir: s.t.TempDir()}
	rc := filepath.Join(tf.dir, "terraform.rc")
	tf.env = append(
		s.environment(), "TF_CLI_CONFIG_FILE="+rc, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0",
	)
	for name, text := range map[string]string{
		rc: fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror),
		filepath.Join(tf.dir, "provider.tf"): fmt.Sprintf(`
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true
  endpoints {
    sagemaker = %[1]q
  }
}
`, s.url),
		filepath.Join(tf.dir, "main.tf"): text,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	tf.run(0, "init")
	return tf
}

// run runs a command of Terraform, which has to end with the exit code, and
// returns what it printed.
func (tf *terraform) run(want int, args ...string) string {
	tf.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "terraform", append(args, "-no-color")...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		tf.s.t.Fatalf("terraform %v: %v, want exit code %d\n%s", args, err, want, out)
	}
	return string(out)
}

// settles applies the configuration; a plan after it has nothing to do.
func (tf *terraform) settles() {
	tf.s.t.Helper()
	tf.run(0, "apply", "-auto-approve")
	tf.run(0, "plan", "-detailed-exitcode")
}

// Whatever is said of a capture, a plan after the apply is empty: what was not
// sent stays absent.
func TestTerraformPlansACaptureClean(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.sdk().deployable("m", 1, nil)
	block := func(name, capture string) string {
		return fmt.Sprintf(`
resource "aws_sagemaker_endpoint_configuration" %[1]q {
  name = %[1]q
  production_variants {
    variant_name           = "main"
    model_name             = "m"
    initial_instance_count = 1
    instance_type          = "ml.m5.large"
  }
  data_capture_config {
%[2]s
  }
}
`, name, capture)
	}
	tf := newTerraform(s, block("least", `
    initial_sampling_percentage = 20
    destination_s3_uri          = "s3://captured"
    capture_options {
      capture_mode = "Input"
    }`)+block("all", `
    enable_capture              = true
    initial_sampling_percentage = 100
    destination_s3_uri          = "s3://captured/some/prefix/"
    kms_key_id                  = "arn:aws:kms:us-east-1:123456789012:key/k"
    capture_options {
      capture_mode = "Input"
    }
    capture_options {
      capture_mode = "Output"
    }
    capture_content_type_header {
      csv_content_types  = ["text/csv"]
      json_content_types = ["application/json", "application/jsonlines"]
    }`)+block("off", `
    enable_capture              = false
    initial_sampling_percentage = 0
    destination_s3_uri          = "s3://captured/"
    capture_options {
      capture_mode = "InputAndOutput"
    }
    capture_content_type_header {
      json_content_types = ["application/json"]
    }`))
	tf.settles()
	tf.run(0, "destroy", "-auto-approve")
}

// imports are blocks that import what tf's state has.
func (tf *terraform) imports() string {
	tf.s.t.Helper()
	var state struct {
		Values struct {
			Root struct {
				Resources []struct {
					Address, Mode, Type string
					Values              struct{ ID string }
				}
			} `json:"root_module"`
		}
	}
	if err := json.Unmarshal([]byte(tf.run(0, "show", "-json")), &state); err != nil {
		tf.s.t.Fatal(err)
	}
	var out strings.Builder
	for _, r := range state.Values.Root.Resources {
		// The content of an object is never imported: it would be a change.
		if r.Mode == "managed" && !strings.HasPrefix(r.Type, "aws_s3") {
			fmt.Fprintf(&out, "import {\n  to = %s\n  id = %q\n}\n", r.Address, r.Values.ID)
		}
	}
	return out.String()
}

// Whatever is served settles, is changed in place, can be imported as it is,
// and is gone in the end.
func TestTerraformManagesEveryResource(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.sdk()
	for _, name := range []string{"v1", "v2"} {
		c.upload(name+"/model.tar.gz", archive(t, map[string]string{"name": name}))
	}
	var text [2]string
	for i, name := range []string{"resources.tf", "buckets.tf"} {
		b, err := os.ReadFile(filepath.Join("testdata", "terraform", name))
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(b)
	}
	tf := newTerraform(s, text[0]+text[1])
	tf.env = append(tf.env, "TF_VAR_image="+testImage)
	tf.settles()

	tf.env = append(tf.env, "TF_VAR_change=b", "TF_VAR_model=v2")
	out := tf.run(0, "apply", "-auto-approve")
	// Only a configuration of endpoints cannot be changed.
	if want := "1 added, 11 changed, 1 destroyed"; !strings.Contains(out, want) {
		t.Errorf("the changes are not %s:\n%s", want, out)
	}
	tf.run(0, "plan", "-detailed-exitcode")
	c.wantAnswer("canary", "v2")

	imports := tf.imports()
	other := newTerraform(s, text[0]+imports)
	other.env = append(other.env, "TF_VAR_image="+testImage, "TF_VAR_change=b", "TF_VAR_model=v2")
	out = other.run(0, "apply", "-auto-approve")
	if want := fmt.Sprintf(
		"%d imported, 0 added, 0 changed, 0 destroyed", strings.Count(imports, "import {"),
	); !strings.Contains(out, want) {
		t.Errorf("the import is not %s:\n%s", want, out)
	}
	tf.run(0, "destroy", "-auto-approve")
	eventually(t, time.Minute, "no instance is left", func() bool { return len(s.instances()) == 0 })
}
