package cloud_test

import (
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// showing starts a server whose certificate was valid in a span.
func showing(t *testing.T, from, until time.Time) *cloudtest.Server {
	t.Helper()
	ca := cloudtest.NewCA(t, "CA")
	return cloudtest.Start(t, ca, func(s *httptest.Server) {
		s.TLS.Certificates = []tls.Certificate{ca.Issue(t, "server", true, from, until)}
	})
}

func tolerant(c *cloud.Config) { c.TolerateClock = true }

func TestAWrongClockIsToleratedOnlyWhenConfigured(t *testing.T) {
	now := time.Now()
	for name, s := range map[string]*cloudtest.Server{
		"the clock is years ahead":  showing(t, now.AddDate(-5, 0, 0), now.AddDate(-4, 0, 0)),
		"the clock is years behind": showing(t, now.AddDate(4, 0, 0), now.AddDate(5, 0, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dial(t, s).Heartbeat(t.Context(), edge.Heartbeat{})
			if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "not to be trusted") {
				t.Errorf("not configured: %v", err)
			}
			beat(t, dial(t, s, tolerant))
		})
	}
}

func TestToleranceIsForTheClockAlone(t *testing.T) {
	from := time.Now().AddDate(-5, 0, 0)
	until := from.AddDate(1, 0, 0)
	as := func(name string, server bool) *cloudtest.Server {
		ca := cloudtest.NewCA(t, "CA")
		return cloudtest.Start(t, ca, func(s *httptest.Server) {
			s.TLS.Certificates = []tls.Certificate{ca.Issue(t, name, server, from, until)}
		})
	}
	stranger := cloudtest.New(t)
	for name, tc := range map[string]struct {
		server *cloudtest.Server
		change func(*cloud.Config)
		says   string
	}{
		"another CA": {
			as("server", true), func(c *cloud.Config) { c.CAFile = stranger.CAFile }, "unknown authority",
		},
		"another name":               {as("localhost", true), tolerant, "cannot validate certificate for 127.0.0.1"},
		"a device's own certificate": {as("device", false), tolerant, "certificate"},
	} {
		_, err := dial(t, tc.server, tolerant, tc.change).Heartbeat(t.Context(), edge.Heartbeat{})
		if err == nil || !strings.Contains(err.Error(), "not to be trusted") ||
			!strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAServerOfAnotherCAIsNotSpokenTo(t *testing.T) {
	s, stranger := cloudtest.New(t), cloudtest.New(t)
	_, err := dial(t, s, func(c *cloud.Config) { c.CAFile = stranger.CAFile }).Heartbeat(t.Context(), edge.Heartbeat{})
	if err == nil || !strings.Contains(err.Error(), "not to be trusted") {
		t.Error(err)
	}
	if len(s.Calls()) != 0 {
		t.Errorf("calls: %q", s.Calls())
	}
}

func TestADeviceWhoseClockIsYearsOffSignsWithTheServersTime(t *testing.T) {
	for name, off := range map[string]time.Duration{
		"behind": 5 * 365 * 24 * time.Hour, "ahead": -5 * 365 * 24 * time.Hour, "a little": 10 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			s := cloudtest.New(t)
			s.Clock(func() time.Time { return time.Now().Add(off) })
			// The server's certificate is valid by the device's clock only; in
			// life both would be off together.
			c := dial(t, s, tolerant)
			beat(t, c)
			beat(t, c)
			if s.Issued() != 1 {
				t.Errorf("%d credentials for two calls: their life was judged by the wrong clock", s.Issued())
			}
		})
	}
}

func TestAClockThatJumpsIsNoticedWhenASignatureIsRefused(t *testing.T) {
	s := cloudtest.New(t)
	s.Life(12 * time.Hour)
	c := dial(t, s)
	beat(t, c)
	s.Clock(func() time.Time { return time.Now().Add(3 * time.Hour) })
	beat(t, c)
	if got := s.Calls(); len(got) != 4 || !strings.HasSuffix(got[2], "400") && !strings.HasSuffix(got[2], "403") {
		t.Errorf("calls: %q", got)
	}
}
