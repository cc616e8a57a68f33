package hdhr

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The IPv6 groups of discovery: link-local and site-local (hdhomerun_discover.c).
var (
	groupLink = netip.MustParseAddr("ff02::176")
	groupSite = netip.MustParseAddr("ff05::176")
)

// listenDiscover opens the discovery sockets: one on addr, or when it is zero one for each family,
// the IPv6 one a member of both groups on every interface. A host without IPv6 gets one.
func listenDiscover(ctx context.Context, addr netip.Addr, port int, log *slog.Logger) ([]net.PacketConn, error) {
	var lc net.ListenConfig
	if addr.IsValid() {
		c, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		return []net.PacketConn{c}, nil
	}
	c4, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	port = c4.LocalAddr().(*net.UDPAddr).Port
	c6, err := lc.ListenPacket(ctx, "udp6", net.JoinHostPort("::", strconv.Itoa(port)))
	if err != nil {
		log.Debug("discovery without ipv6", "err", err)
		return []net.PacketConn{c4}, nil
	}
	ifs, _ := net.Interfaces()
	p := ipv6.NewPacketConn(c6)
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 {
			continue
		}
		for _, g := range []netip.Addr{groupLink, groupSite} {
			if err := p.JoinGroup(&i, &net.UDPAddr{IP: g.AsSlice()}); err != nil {
				log.Debug("discovery group not joined", "interface", i.Name, "group", g, "err", err)
			}
		}
	}
	return []net.PacketConn{c4, c6}, nil
}

// serveDiscover answers requests on one socket until ctx ends.
func (d *Device) serveDiscover(ctx context.Context, c net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	conn := newLocalConn(c)
	buf := make([]byte, 2*MaxPacket)
	for {
		n, local, ifIndex, from, err := conn.read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			// An ICMP error of an earlier reply shows up here; the socket is as good as before.
			d.log.Debug("discovery read", "err", err)
			continue
		}
		p, _, err := ParsePacket(buf[:n])
		if err != nil || p.Type != TypeDiscoverRequest {
			d.log.Debug("discovery packet ignored", "from", from, "type", p.Type, "err", err)
			continue
		}
		if !ParseDiscoverRequest(p.Payload).Matches(d.cfg.ID, TypeTuner) {
			continue
		}
		at := d.cfg.Addr
		if !at.IsValid() {
			at = localAddr(local, ifIndex, from.Addr())
		}
		base := d.BaseURL(at)
		reply := DiscoverReply{
			Types: []DeviceType{TypeTuner}, ID: d.cfg.ID, Tuners: d.cfg.Tuners,
			BaseURL: base, LineupURL: base + "/lineup.json",
		}
		if err := conn.write(reply.Append(nil), at, from); err != nil {
			d.log.Debug("discovery reply", "to", from, "err", err)
		}
	}
}

// localAddr chooses the device's address that the peer can reach: the one it wrote to, or after a
// broadcast or multicast one of the interface it came in by. A link-local IPv6 address is the last
// choice, since it can not stand in a URL.
func localAddr(dst netip.Addr, ifIndex int, peer netip.Addr) netip.Addr {
	dst = dst.Unmap()
	if dst.IsValid() && !dst.IsUnspecified() && !dst.IsMulticast() && !dst.IsLinkLocalUnicast() &&
		dst != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && isLocal(dst) {
		return dst
	}
	var addrs []net.Addr
	if i, err := net.InterfaceByIndex(ifIndex); err == nil {
		addrs, _ = i.Addrs()
	}
	best, bestScore := dst, -1
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		score := 0
		switch {
		case n.Contains(peer.Unmap().AsSlice()) && !ip.IsLinkLocalUnicast():
			score = 3
		case ip.Is4() == peer.Unmap().Is4() && !ip.IsLinkLocalUnicast():
			score = 2
		case !ip.IsLinkLocalUnicast():
			score = 1
		}
		if score > bestScore {
			best, bestScore = ip, score
		}
	}
	return best
}

// isLocal tells a unicast destination from a subnet's broadcast address.
func isLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	addrs, _ := net.InterfaceAddrs()
	for _, l := range addrs {
		if n, ok := l.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return false
}

// localConn is a datagram socket that tells which local address a packet was sent to, and can
// answer from it.
type localConn struct {
	c  net.PacketConn
	p4 *ipv4.PacketConn // one of these, or neither where the system lacks control messages
	p6 *ipv6.PacketConn
}

func newLocalConn(c net.PacketConn) localConn {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if a.Is4() || a.Is4In6() {
		p := ipv4.NewPacketConn(c)
		if p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true) == nil {
			return localConn{c, p, nil}
		}
		return localConn{c: c}
	}
	p := ipv6.NewPacketConn(c)
	if p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true) == nil {
		return localConn{c, nil, p}
	}
	return localConn{c: c}
}

func (l localConn) read(b []byte) (n int, local netip.Addr, ifIndex int, from netip.AddrPort, err error) {
	var src net.Addr
	switch {
	case l.p4 != nil:
		var cm *ipv4.ControlMessage
		if n, cm, src, err = l.p4.ReadFrom(b); cm != nil {
			local, _ = netip.AddrFromSlice(cm.Dst)
			ifIndex = cm.IfIndex
		}
	case l.p6 != nil:
		var cm *ipv6.ControlMessage
		if n, cm, src, err = l.p6.ReadFrom(b); cm != nil {
			local, _ = netip.AddrFromSlice(cm.Dst)
			ifIndex = cm.IfIndex
		}
	default:
		n, src, err = l.c.ReadFrom(b)
	}
	if u, ok := src.(*net.UDPAddr); ok {
		from = u.AddrPort()
	}
	return n, local, ifIndex, from, err
}

// write answers from the local address, where it is one that IPv4 can answer from; IPv6 chooses by
// the scope of the peer's address.
func (l localConn) write(b []byte, local netip.Addr, to netip.AddrPort) error {
	dst := net.UDPAddrFromAddrPort(to)
	if l.p4 != nil && local.Is4() && !local.IsUnspecified() {
		_, err := l.p4.WriteTo(b, &ipv4.ControlMessage{Src: local.AsSlice()}, dst)
		return err
	}
	_, err := l.c.WriteTo(b, dst)
	return err
}
