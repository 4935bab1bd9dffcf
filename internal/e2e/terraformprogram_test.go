package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	tf.env = append(s.environment(), "TF_CLI_CONFIG_FILE="+rc, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
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

// run runs a command of Terraform, which has to end with the exit code.
func (tf *terraform) run(want int, args ...string) {
	tf.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "terraform", append(args, "-input=false", "-no-color")...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		tf.s.t.Fatalf("terraform %v: %v, want exit code %d\n%s", args, err, want, out)
	}
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
