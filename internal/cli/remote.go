package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/config"
)

// remote is a server that a command talks to.
type remote struct {
	url, region string
	credentials aws.Credentials
	client      *http.Client
}

// connection are the flags that say which server, and how to print its answer.
type connection struct {
	settings
	region string
	json   bool
}

func (c *connection) bind(cmd *cobra.Command) {
	c.settings.bindClient(cmd)
	cmd.Flags().StringVar(
		&c.region, "region", "", "region of the endpoint; default: that of the environment or the configuration",
	)
	cmd.Flags().BoolVar(&c.json, "json", false, "print the server's answer as JSON")
	cmd.Long += `

The server is the one of AWS_ENDPOINT_URL, with the keys of AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, if the environment names one and no flag does; otherwise the
one of the data directory.`
}

// remote finds the server as 'slipway env' does: flags first, then the
// environment, then the data directory.
func (c *connection) remote(cmd *cobra.Command) (*remote, error) {
	r := &remote{client: &http.Client{
		Timeout: time.Minute,
		// A request is signed for one address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	flags := cmd.Flags()
	env := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_SAGEMAKER"), os.Getenv("AWS_ENDPOINT_URL"))
	if env != "" && !flags.Changed("listen") && !flags.Changed("data-dir") && !flags.Changed("config") {
		u, err := url.Parse(env)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, errors.New("AWS_ENDPOINT_URL is not a URL like http://127.0.0.1:9400")
		}
		r.url = env
		r.region = cmp.Or(c.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), config.Default().Region)
		r.credentials = aws.Credentials{
			AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
		}
		if r.credentials.AccessKeyID == "" || r.credentials.SecretAccessKey == "" {
			return nil, errors.New(
				"AWS_ENDPOINT_URL is set, but AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not: run eval " +
					"\"$(slipway env)\", or name the --data-dir",
			)
		}
		return r, nil
	}
	cfg, err := c.load(cmd)
	if err != nil {
		return nil, err
	}
	if !flags.Changed("listen") {
		cfg.Listen = rememberedAddress(cfg)
	}
	r.url, r.region = "http://"+reachable(cfg.Listen), cmp.Or(c.region, cfg.Region)
	r.credentials.AccessKeyID, r.credentials.SecretAccessKey, err = credentials(cfg.CredentialsPath())
	return r, err
}

// refusal is an error that the server answered.
type refusal struct{ code, message string }

func (r *refusal) Error() string {
	if r.message == "" {
		return "the server answered " + r.code
	}
	return r.message
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// call makes a request of an operation of ours and returns the answer as it
// came; into may be nil.
func (r *remote) call(ctx context.Context, op string, in, into any) (json.RawMessage, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("X-Amz-Target", "Slipway."+op)
	q.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(
		ctx, r.credentials, q, hex.EncodeToString(sum[:]), "sagemaker", r.region, time.Now(),
	); err != nil {
		return nil, fmt.Errorf("sign the request: %w", err)
	}
	res, err := r.client.Do(q)
	if err != nil {
		return nil, unreachable(r.url, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, unreachable(r.url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, refused(res.StatusCode, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			return nil, fmt.Errorf("what answers at %s is not a Slipway server: %w", r.url, err)
		}
	}
	return answer, nil
}

// ask calls an operation and shows its answer, or prints it as JSON.
func ask[Out any](cmd *cobra.Command, c *connection, op string, in any, show func(io.Writer, Out) error) error {
	r, err := c.remote(cmd)
	if err != nil {
		return err
	}
	var out Out
	answer, err := r.call(cmd.Context(), op, in, &out)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	return show(cmd.OutOrStdout(), out)
}

// away says that a server cannot be reached: it may be there in a moment.
type away struct {
	url   string
	cause error
}

func (a *away) Error() string { return fmt.Sprintf("no server answers at %s: %v", a.url, a.cause) }

func (a *away) Unwrap() error { return a.cause }

func unreachable(at string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return &away{at, err}
}

func refused(status int, answer []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // in either case
	}
	if json.Unmarshal(answer, &e) != nil || e.Type == "" {
		return fmt.Errorf("the server answered %d", status)
	}
	return &refusal{e.Type, e.Message}
}

// printJSON prints an answer, indented for people.
func printJSON(w io.Writer, answer json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, answer, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}
