package hdhr

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ResolveTarget reads what a user gives for a device's address: an IP address, also with a zone, or a
// host name, each with or without a port. The port is 0 when none is given. Of a host name's addresses
// it takes the first of a family wanted.
func ResolveTarget(ctx context.Context, s string, want4, want6 bool) (netip.AddrPort, error) {
	host, port := s, uint64(0)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q: port %q", s, p)
		}
		host = h
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a, uint16(port)), nil
	}
	if host == "" || strings.ContainsAny(host, "/ ") {
		return netip.AddrPort{}, fmt.Errorf("%q: neither an address nor a host name", s)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, a := range addrs {
		a = a.Unmap()
		if a.Is4() && want4 || a.Is6() && want6 {
			return netip.AddrPortFrom(a, uint16(port)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%q: no address of the family wanted", s)
}
