package tunnel_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/tunnel"
)

// world is a server of tunnels to a gateway that tells what it got.
type world struct {
	t     *testing.T
	dir   string
	url   *url.URL
	roots *x509.CertPool
}

func newWorld(t *testing.T, change func(*tunnel.Config)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), roots: x509.NewCertPool()}
	authority, err := tunnel.OpenAuthority(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	c := tunnel.Config{
		Authority: authority, Log: slog.New(slog.DiscardHandler),
		Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.URL.Path)
		}),
	}
	if change != nil {
		change(&c)
	}
	s := tunnel.New(c)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve() })
	front := httptest.NewServer(s)
	t.Cleanup(func() {
		_ = s.Shutdown(t.Context()) // its context is over: what is left is cut off
		front.Close()
		wg.Wait()
	})
	w.url, err = url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(w.dir, tunnel.CertificateFile))
	if err != nil || !w.roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate", err)
	}
	return w
}

// get asks for a URL through the proxy, as a client that trusts its authority.
func (w *world) get(rawURL string, certificates ...tls.Certificate) (string, error) {
	w.t.Helper()
	tr := &http.Transport{Proxy: http.ProxyURL(w.url), TLSClientConfig: &tls.Config{
		RootCAs: w.roots, Certificates: certificates,
	}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(rawURL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestATunnelLeadsToTheGatewayAndNowhereElse(t *testing.T) {
	w := newWorld(t, nil)
	for _, host := range []string{
		"sts.us-east-1.amazonaws.com", "sts.amazonaws.com", "api.sagemaker.eu-west-1.amazonaws.com",
		"s3.us-east-1.amazonaws.com", "a-bucket.s3.us-east-1.amazonaws.com", "a-bucket.s3.amazonaws.com",
		"monitoring.cn-north-1.amazonaws.com.cn", "sts-fips.us-east-1.amazonaws.com",
		"runtime-fips.sagemaker.us-east-1.amazonaws.com", "a-bucket.s3-fips.us-east-1.amazonaws.com",
		"api.sagemaker.us-east-1.api.aws", "monitoring.cn-north-1.api.amazonwebservices.com.cn",
	} {
		got, err := w.get("https://" + host + "/a/path")
		if err != nil || got != "GET "+host+" /a/path" {
			t.Errorf("%s: %q %v", host, got, err)
		}
	}
	for _, target := range []string{
		"https://iam.amazonaws.com/", "https://example.com/", "https://127.0.0.1/", "https://localhost/",
		"https://sts.us-east-1.amazonaws.com:8443/", "https://169.254.169.254/", "https://amazonaws.com.evil.com/",
	} {
		if got, err := w.get(target); err == nil || !strings.Contains(err.Error(), "Forbidden") {
			t.Errorf("%s: %q %v", target, got, err)
		}
	}
	if resp, err := http.Get(w.url.String() + "/healthz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Error("what is no CONNECT did not get through:", err)
	}
}

// Devices know the credentials provider by a name of their account, and show their
// certificate there, and nowhere else.
func TestATunnelLeadsDevicesToTheCredentialsProvider(t *testing.T) {
	w := newWorld(t, func(c *tunnel.Config) {
		c.Devices = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "device with %d certificate", len(r.TLS.PeerCertificates))
		})
	})
	const provider = "https://c2s1.credentials.iot.eu-west-1.amazonaws.com/role-aliases/a/credentials"
	if got, err := w.get(provider); err == nil {
		t.Errorf("without a certificate: %q", got)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(w.dir, tunnel.CertificateFile), filepath.Join(w.dir, "aws-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.get(provider, cert); err != nil || got != "device with 1 certificate" {
		t.Errorf("with one: %q %v", got, err)
	}
	if got, err := w.get("https://sts.amazonaws.com/x", cert); err != nil || got != "GET sts.amazonaws.com /x" {
		t.Errorf("elsewhere: %q %v", got, err)
	}
}

// Whoever has the key can be AWS for those who trust the certificate, and
// nobody else.
func TestTheAuthorityIsGoodForNamesOfAWSAlone(t *testing.T) {
	w := newWorld(t, nil)
	info, err := os.Stat(filepath.Join(w.dir, "aws-ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal("the key:", info, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, tunnel.CertificateFile), filepath.Join(w.dir, "aws-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if c := pair.Leaf; !c.IsCA || !c.PermittedDNSDomainsCritical || len(c.PermittedDNSDomains) != 6 ||
		len(c.ExcludedIPRanges) != 2 {
		t.Errorf("%+v", c)
	}
	before, err := os.ReadFile(filepath.Join(w.dir, tunnel.CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.OpenAuthority(w.dir); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(filepath.Join(w.dir, tunnel.CertificateFile)); string(after) != string(before) {
		t.Error("a restart made another authority")
	}
	if err := os.Chmod(filepath.Join(w.dir, "aws-ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.OpenAuthority(w.dir); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Error("a key that everybody may read was taken:", err)
	}
}

// connect asks for a tunnel on a connection of its own.
func (w *world) connect(host string) (net.Conn, string) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.url.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // so that a fault ends the test
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	return c, strings.TrimSpace(line)
}

// ends reports whether the server closes a connection without a word.
func ends(c net.Conn) bool {
	n, err := io.Copy(io.Discard, c)
	return n == 0 && (err == nil || !errors.Is(err, os.ErrDeadlineExceeded))
}

func TestASilentTunnelEnds(t *testing.T) {
	w := newWorld(t, func(c *tunnel.Config) { c.Handshake = time.Second })
	c, line := w.connect("sts.amazonaws.com:443")
	if !strings.Contains(line, "200") || !ends(c) {
		t.Error("a tunnel without a handshake was kept:", line)
	}
}

func TestANewTunnelTakesThePlaceOfTheLongestIdle(t *testing.T) {
	w := newWorld(t, func(c *tunnel.Config) { c.Places.Max, c.Places.Turn, c.Handshake = 4, 1, 10*time.Minute })
	first, _ := w.connect("sts.amazonaws.com:443")
	for range 20 { // strangers, who say nothing
		if _, line := w.connect("sts.amazonaws.com:443"); !strings.Contains(line, "200") {
			t.Fatal(line)
		}
	}
	if !ends(first) {
		t.Error("the first of very many was kept")
	}
	if got, err := w.get("https://sts.amazonaws.com/x"); err != nil || got != "GET sts.amazonaws.com /x" {
		t.Error("strangers kept a client out:", got, err)
	}
}
