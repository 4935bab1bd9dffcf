package config_test

import (
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/config"
)

func TestTheDeviceListenerIsBesideTheOther(t *testing.T) {
	for _, c := range []struct {
		listen, devices, want string
		on                    bool
	}{
		{"127.0.0.1:9400", "", "127.0.0.1:9443", true},
		{"127.0.0.1:0", "", "127.0.0.1:0", true},
		{"0.0.0.0:80", "0.0.0.0:443", "0.0.0.0:443", true},
		{"127.0.0.1:9400", config.NoDevices, "", false},
	} {
		cfg := config.Default()
		cfg.Listen, cfg.Devices.Listen = c.listen, c.devices
		if got, on := cfg.DevicesListen(); got != c.want || on != c.on {
			t.Errorf("%s, %q: %q %t", c.listen, c.devices, got, on)
		}
	}
}

func TestWhatDevicesCannotBeToldIsNamed(t *testing.T) {
	_, err := config.Parse([]byte("devices: {listen: nowhere, names: ['a b', '::1', edge.example], pollIdle: 0s}"))
	for _, want := range []string{"devices.listen", `"a b"`, "devices.pollIdle"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "::1") {
		t.Error(err)
	}
}
