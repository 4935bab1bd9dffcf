package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/slipway-ml/slipway/internal/api/credentials"
	"github.com/slipway-ml/slipway/internal/platform/devicetls"
)

// listenForDevices takes the address of the mutual-TLS listener, if there is to
// be one: the credentials provider, and every API besides.
func (a *App) listenForDevices(ctx context.Context, apis http.Handler) error {
	addr, wanted := a.cfg.DevicesListen()
	if !wanted {
		return nil
	}
	// Probes of the kernel, every 15 seconds, would cost a device more than all
	// that it has to say; a connection that is dead ends by being idle.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for devices: %w", err)
	}
	a.deviceListener = devicetls.Limit(l, a.ofDevices())
	if ip := net.ParseIP(hostOf(l)); len(a.cfg.Devices.Names) == 0 && ip.IsUnspecified() {
		a.log.WarnContext(ctx, "devices on other machines need a name for this one: "+
			"set devices.names, or those that enroll are told 127.0.0.1", "listen", addr)
	}
	a.onStop("device listener", func() error { _ = l.Close(); return nil }) // as the other's
	config, err := a.identity.TLSConfig(append(a.cfg.Devices.Names, hostOf(l))...)
	if err != nil {
		return fmt.Errorf("listen for devices: %w", err)
	}
	// For people and their tools; it is no secret. Without it the server serves as well.
	ca := filepath.Join(a.cfg.DataDir, "devices-ca.pem")
	if there, err := os.ReadFile(ca); err != nil || string(there) != a.identity.CA() {
		if err := ReplaceFile(ca, []byte(a.identity.CA()), 0o644); err != nil {
			a.log.WarnContext(ctx, "the certificate of the device CA was not written", "file", ca, "err", err)
		}
	}
	a.devices = devicetls.Server(config, apis, a.log)
	return nil
}

// forDevices are the credentials provider and every API besides, for those who come
// with a certificate.
func (a *App) forDevices(apis http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(credentials.Prefix, credentials.New(a.identity, a.sessions, a.log))
	mux.Handle("/", apis)
	return credentials.CloseUnknown(a.identity, mux)
}

// hostOf is the host that a listener listens on.
func hostOf(l net.Listener) string {
	host, _, _ := net.SplitHostPort(l.Addr().String()) // it is an address
	return host
}

// DevicesAddr is the host:port of the device listener, "" without one.
func (a *App) DevicesAddr() string {
	if a.deviceListener == nil {
		return ""
	}
	return a.deviceListener.Addr().String()
}

// devicesEndpoint is the host:port by which devices reach their listener.
func (a *App) devicesEndpoint() string {
	if a.deviceListener == nil {
		return ""
	}
	return reachable(a.DevicesAddr(), a.cfg.Devices.Names)
}

// url is where devices reach the server before they have a certificate.
func (a *App) url() string { return "http://" + reachable(a.Addr(), a.cfg.Devices.Names) }

// reachable is an address of ours as others write it: under the first name that
// was configured, and never "every address of this host".
func reachable(addr string, names []string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch {
	case len(names) > 0:
		host = names[0]
	case net.ParseIP(host).IsUnspecified():
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
