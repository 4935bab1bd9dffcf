package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/config"
)

func newEnv() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs to use this server with any AWS client",
		Example: `  eval "$(slipway env)"
  aws sagemaker list-endpoints`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("listen") {
				cfg.Listen = rememberedAddress(cfg)
			}
			return printEnv(cmd.OutOrStdout(), cfg)
		},
	}
	s.bind(cmd)
	return cmd
}

// printEnv prints one export a line, quoted for eval.
func printEnv(w io.Writer, cfg config.Config) error {
	id, secret, err := credentials(cfg.CredentialsPath())
	if err != nil {
		return err
	}
	for _, v := range [][2]string{
		{"AWS_ENDPOINT_URL", "http://" + reachable(cfg.Listen)},
		{"AWS_ACCESS_KEY_ID", id},
		{"AWS_SECRET_ACCESS_KEY", secret},
		{"AWS_REGION", cfg.Region},
		{"AWS_DEFAULT_REGION", cfg.Region}, // what boto3 and older CLIs read
	} {
		if _, err := fmt.Fprintf(w, "export %s=%s\n", v[0], quote(v[1])); err != nil {
			return err
		}
	}
	return nil
}

// rememberedAddress is where the server of this data directory last listened,
// or the configured address if it never ran.
func rememberedAddress(cfg config.Config) string {
	text, err := os.ReadFile(addressFile(cfg))
	if err != nil {
		return cfg.Listen
	}
	return strings.TrimSpace(string(text))
}

// reachable turns an address to listen on into one to connect to: a server on
// all addresses is reached by the loopback one.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || (err == nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// credentials reads the profile "default" of an AWS shared-credentials file.
func credentials(path string) (id, secret string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("there is no %s yet: start 'slipway server' first, or name its --data-dir", path)
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	section := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] ")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		switch {
		case section != "default":
		case strings.TrimSpace(key) == "aws_access_key_id":
			id = strings.TrimSpace(value)
		case strings.TrimSpace(key) == "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("%s has no keys in its profile default", path)
	}
	return id, secret, nil
}

// quote makes s one word for a POSIX shell. Words that need no quotes stay as
// they are, for people to read.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("-_./:+=@,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
