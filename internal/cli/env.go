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
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/wire/tunnel"
)

func newEnv() *cobra.Command {
	var s settings
	var all bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs to use this server with any AWS client",
		Long: `Prints the variables that lead AWS clients to this server, for eval.

Some clients ask hosts of AWS whatever AWS_ENDPOINT_URL says; the SageMaker Python SDK asks
STS in this way. With --all they are led here, too: the server is the proxy for HTTPS, and
answers for the names of the services that it serves with certificates of its own, which
AWS_CA_BUNDLE makes clients trust. Everything else is refused: no other HTTPS works in a shell
with these variables, but for the hosts of NO_PROXY.`,
		Example: `  eval "$(slipway env)"
  aws sagemaker list-endpoints`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("listen") {
				cfg.Listen = rememberedAddress(cfg)
			}
			return printEnv(cmd.OutOrStdout(), cfg, all)
		},
	}
	s.bindClient(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also lead clients here whose code names hosts of AWS, by HTTPS_PROXY")
	return cmd
}

// printEnv prints one export a line, quoted for eval.
func printEnv(w io.Writer, cfg config.Config, all bool) error {
	id, secret, err := credentials(cfg.CredentialsPath())
	if err != nil {
		return err
	}
	url := "http://" + reachable(cfg.Listen)
	vars := [][2]string{
		{"AWS_ENDPOINT_URL", url},
		{"AWS_ACCESS_KEY_ID", id},
		{"AWS_SECRET_ACCESS_KEY", secret},
		{"AWS_REGION", cfg.Region},
		{"AWS_DEFAULT_REGION", cfg.Region}, // what boto3 and older CLIs read
	}
	if all {
		more, err := proxied(cfg, url)
		if err != nil {
			return err
		}
		vars = append(vars, more...)
	}
	for _, v := range vars {
		if _, err := fmt.Fprintf(w, "export %s=%s\n", v[0], quote(v[1])); err != nil {
			return err
		}
	}
	return nil
}

// proxied are the variables that lead HTTPS to the server at url, and make
// clients trust what it shows there.
func proxied(cfg config.Config, url string) ([][2]string, error) {
	ca, err := filepath.Abs(filepath.Join(cfg.DataDir, tunnel.CertificateFile))
	if err == nil {
		_, err = os.Stat(ca)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s yet: start 'slipway server' of this version first", ca)
	}
	if err != nil {
		return nil, err
	}
	const here = "localhost,127.0.0.1,::1"
	return [][2]string{
		{"HTTPS_PROXY", url},
		{"https_proxy", url}, // clients read the one or the other, curl both
		{"NO_PROXY", here},
		{"no_proxy", here},
		{"AWS_CA_BUNDLE", ca},
		{"REQUESTS_CA_BUNDLE", ca},            // Python's requests: presigned URLs
		{"CURL_CA_BUNDLE", ca},                // curl
		{"NODE_EXTRA_CA_CERTS", ca},           // the SDK for JavaScript reads no AWS_CA_BUNDLE
		{"AWS_EC2_METADATA_DISABLED", "true"}, // nobody is to wait for it
	}, nil
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
