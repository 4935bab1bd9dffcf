package devicetls_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
)

func newCA(t *testing.T) *devicetls.CA {
	t.Helper()
	cert, key, err := devicetls.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := devicetls.OpenCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func roots(ca *devicetls.CA) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.PEM()))
	return pool
}

// device returns a key and the certificate that ca issued for it.
func device(t *testing.T, ca *devicetls.CA) (tls.Certificate, devicetls.Issued) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode([]byte(issued.PEM))
	return tls.Certificate{Certificate: [][]byte{b.Bytes}, PrivateKey: key}, issued
}

// serve serves the ID of the client until the test ends.
func serve(t *testing.T, c *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, devicetls.Client(r))
	})
	s := devicetls.Server(c, h, slog.New(slog.NewTextHandler(t.Output(), nil)))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(devicetls.Limit(l, connlimit.Config{}), "", "") }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return l.Addr().String()
}

func get(t *testing.T, address, name string, c *tls.Config) (string, error) {
	t.Helper()
	c.ServerName = name
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 10 * time.Second,
	}
	res, err := client.Get("https://" + address)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestADeviceIsKnownByItsCertificate(t *testing.T) {
	ca := newCA(t)
	c, err := devicetls.Config(ca, "edge.example", "[2001:db8::1]", "0.0.0.0", "")
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, c)
	cert, issued := device(t, ca)
	for _, name := range []string{"", "localhost", "127.0.0.1", "::1", "edge.example", "2001:db8::1"} {
		got, err := get(t, address, name, &tls.Config{RootCAs: roots(ca), Certificates: []tls.Certificate{cert}})
		if err != nil || got != issued.ID {
			t.Errorf("as %q: %q, %v", name, got, err)
		}
	}
	if _, err := get(t, address,
		"elsewhere", &tls.Config{RootCAs: roots(ca), Certificates: []tls.Certificate{cert}}); err == nil {
		t.Error("it passed for another host")
	}
	stranger, id := device(t, newCA(t)) // judging it is the handler's
	if got, err := get(t, address,
		"", &tls.Config{RootCAs: roots(ca), Certificates: []tls.Certificate{stranger}}); err != nil || got != id.ID {
		t.Errorf("of another CA: %q, %v", got, err)
	}
}

func TestTheHandshakeFails(t *testing.T) {
	ca := newCA(t)
	c, err := devicetls.Config(ca)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, c)
	cert, _ := device(t, ca)
	other, _ := device(t, ca)
	for name, c := range map[string]*tls.Config{
		"without a certificate": {},
		"under TLS 1.1": {
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		},
		"with the key of others": {
			Certificates: []tls.Certificate{{Certificate: cert.Certificate, PrivateKey: other.PrivateKey}},
		},
	} {
		c.RootCAs = roots(ca)
		if got, err := get(t, address, "", c); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestTheListenersCertificateIsRenewedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		c, err := devicetls.Config(ca)
		if err != nil {
			t.Fatal(err)
		}
		shown := func() *x509.Certificate {
			got, err := c.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(got.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{
				Roots: roots(ca), DNSName: "localhost", CurrentTime: time.Now(),
			}); err != nil {
				t.Fatal(err)
			}
			return leaf
		}
		first := shown()
		time.Sleep(59 * 24 * time.Hour)
		if !shown().Equal(first) {
			t.Error("renewed too early")
		}
		for range 10 {
			time.Sleep(59 * 24 * time.Hour)
			shown()
		}
		// A device whose clock stands at the epoch believes it, too.
		if _, err := shown().Verify(x509.VerifyOptions{Roots: roots(ca), CurrentTime: time.Unix(1, 0)}); err != nil {
			t.Error(err)
		}
	})
}

func TestAnAuthorityIsOpenedOnlyWithItsKey(t *testing.T) {
	cert, key, err := devicetls.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := devicetls.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{
		"another key": {cert, other}, "no key": {cert, ""}, "no certificate": {"", key}, "mixed up": {key, cert},
	} {
		if _, err := devicetls.OpenCA(pair[0], pair[1]); err == nil || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheKeysOfTheAPIWork(t *testing.T) {
	ca := newCA(t)
	key, public, private, err := devicetls.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair([]byte(issued.PEM), []byte(private)); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(public, "-----BEGIN PUBLIC KEY-----") ||
		!strings.HasPrefix(private, "-----BEGIN RSA PRIVATE KEY-----") {
		t.Error(public)
	}
	if k := key.(*rsa.PublicKey); k.N.BitLen() != 2048 {
		t.Error(k.N.BitLen())
	}
}

func csr(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestRequestsForCertificatesAreChecked(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(t, p256)
	if key, err := devicetls.ReadCSR(good); err != nil || !p256.PublicKey.Equal(key) {
		t.Error(key, err)
	}
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	for name, der := range map[string][]byte{
		"nothing": nil, "PEM": []byte("-----BEGIN CERTIFICATE REQUEST-----"), "another curve": csr(t, p521),
		"ed25519":       csr(t, ed),
		"more after it": append(bytes.Clone(good), 0), "a forged signature": forged, "endless": make([]byte, 1<<20),
	} {
		if _, err := devicetls.ReadCSR(der); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRequestsForCertificates(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr(f, key))
	f.Fuzz(func(t *testing.T, der []byte) {
		if key, err := devicetls.ReadCSR(der); err != nil && !errors.Is(err, fault.Invalid) ||
			err == nil && key == nil {
			t.Fatal(key, err)
		}
	})
}
