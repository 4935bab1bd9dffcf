package connlimit

import (
	"net"
	"net/netip"
)

// Network returns the address of a client as far as it cannot choose it.
func Network(remote net.Addr) netip.Addr {
	t, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{} // all that is not TCP is one client
	}
	return network(t.AddrPort().Addr())
}

// networkOf is Network for the host:port of a client.
func networkOf(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return network(a.Addr())
}

func network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
