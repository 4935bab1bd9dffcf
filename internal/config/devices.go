package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// NoDevices as Devices.Listen switches the device listener off.
const NoDevices = "off"

// Devices says how devices are served.
type Devices struct {
	// Listen is the host:port of the mutual-TLS listener that devices use. Empty
	// is 43 ports above listen on the same host (9443 by default), or any free
	// port if listen names none; "off" is none.
	Listen string `json:"listen"`
	// Names are further DNS names and IP addresses by which devices reach the
	// listener; the first is the one that DescribeEndpoint tells.
	Names []string `json:"names,omitempty"`
	// PollIdle is how long a device is asked to wait between two polls while no
	// stage of its fleet is under way.
	PollIdle Duration `json:"pollIdle"`
	// PollActive is the same while one is; an agent waits 5 s at the least.
	PollActive Duration `json:"pollActive"`
	// Heartbeat is how long a device is asked to wait between two heartbeats. The
	// answer to one has it poll soon when a stage of its fleet is under way: where
	// the network is dear, make polls rare and heartbeats as slow as you can wait.
	Heartbeat Duration `json:"heartbeat"`
	// Connected is how long ago a device may have been heard of to count as
	// connected in a fleet's report (edge spec §2.11).
	Connected Duration `json:"connected"`
	// StopGrace is how long a stopped stage waits for the devices that are in
	// the middle of it (edge spec §4.5).
	StopGrace Duration `json:"stopGrace"`
	// RegistrationTTL is how long a device may believe that it is registered.
	RegistrationTTL Duration `json:"registrationTTL"`
	// RefuseNonemptyFleetDelete makes DeleteDeviceFleet refuse a fleet that has
	// devices; otherwise they are deregistered with it, as on AWS.
	RefuseNonemptyFleetDelete bool `json:"refuseNonemptyFleetDelete"`
	// Connections is how many connections of devices there may be at a time: a new
	// one takes the place of the one that has been idle longest.
	Connections int64 `json:"connections"`
	// ConnectionsPerAddress is how many of them one address may have on which no
	// device has shown itself yet; who comes too many is turned away. Of a site
	// with many devices behind one address, so many can come in at a time.
	ConnectionsPerAddress int64 `json:"connectionsPerAddress"`
	// ConnectionsPerCertificate is how many of them one certificate may have.
	ConnectionsPerCertificate int64 `json:"connectionsPerCertificate"`
}

func defaultDevices() Devices {
	return Devices{
		PollIdle: Duration(5 * time.Minute), PollActive: Duration(10 * time.Second), Heartbeat: Duration(time.Minute),
		Connected: Duration(time.Hour), StopGrace: Duration(24 * time.Hour), RegistrationTTL: Duration(time.Hour),
		Connections: 16384, ConnectionsPerAddress: 1024, ConnectionsPerCertificate: 64,
	}
}

func (d Devices) faults() []error {
	var faults []error
	if d.Listen != "" && d.Listen != NoDevices {
		if err := checkAddress(d.Listen); err != nil {
			faults = append(faults, fmt.Errorf("devices.listen: %w", err))
		}
	}
	for _, name := range d.Names {
		if name == "" || strings.ContainsAny(name, " /:") && net.ParseIP(name) == nil {
			faults = append(faults, fmt.Errorf("devices.names: %q is neither a host name nor an IP address", name))
		}
	}
	for _, t := range []struct {
		key string
		d   Duration
	}{
		{"pollIdle", d.PollIdle},
		{"pollActive", d.PollActive},
		{"heartbeat", d.Heartbeat},
		{"connected", d.Connected},
		{"stopGrace", d.StopGrace},
		{"registrationTTL", d.RegistrationTTL},
	} {
		if t.d <= 0 {
			faults = append(faults, fmt.Errorf("devices.%s: must be above 0", t.key))
		}
	}
	for _, n := range []struct {
		key string
		n   int64
	}{
		{"connections", d.Connections},
		{"connectionsPerAddress", d.ConnectionsPerAddress},
		{"connectionsPerCertificate", d.ConnectionsPerCertificate},
	} {
		if n.n <= 0 {
			faults = append(faults, fmt.Errorf("devices.%s: must be above 0", n.key))
		}
	}
	return faults
}

// devicesAbove is how far the device listener's port is above the other's.
const devicesAbove = 43

// DevicesListen returns the address of the device listener, and whether there
// is one.
func (c Config) DevicesListen() (string, bool) {
	switch c.Devices.Listen {
	case NoDevices:
		return "", false
	case "":
	default:
		return c.Devices.Listen, true
	}
	host, port, err := net.SplitHostPort(c.Listen)
	n, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil {
		return "", false // Validate has said so
	}
	if n != 0 {
		n += devicesAbove
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), true
}
