package limits

import (
	"net"
	"net/netip"
)

// Who names a peer.
type Who struct {
	// Name is that of the peer: an address, or what it has proved to be.
	Name string
	// Block is a wider one to which the peer belongs with others. Empty: the peer has the wide bounds, and belongs to no other.
	Block string
	// Own are bounds of its own, in place of those of the table.
	Own Set
	// Free peers have no bounds.
	Free bool
	// Trusted is asked before something is refused: a peer of which it says yes is Free from then on. nil: nobody is.
	Trusted func() bool
}

// Blocks of addresses. A network gives each of its customers an IPv6 prefix of 64 bits at least, and many have one of 48.
const (
	block4      = 24
	peer6       = 64
	block6      = 48
	thisMachine = "this machine"
)

// ByAddress is the peer at an address. Of IPv4 an address is a peer, of IPv6 the first 64 bits are; the blocks around them have 24 and 48 bits.
// What comes from the loopback may come for many others, as through a proxy, and has the wide bounds, like what comes over a socket of this
// machine. What has no IP address, as over iroh, is named by its network's own address, and belongs to that network as to a block.
func ByAddress(a net.Addr) Who {
	at, err := netip.ParseAddrPort(a.String())
	ip := at.Addr().Unmap().WithZone("")
	switch {
	case err != nil && (a.Network() == "unix" || a.String() == a.Network()):
		return Who{Name: thisMachine}
	case err != nil:
		return Who{Name: a.String(), Block: a.Network()}
	case ip.IsLoopback():
		return Who{Name: thisMachine}
	case ip.Is4():
		return Who{Name: ip.String(), Block: netip.PrefixFrom(ip, block4).Masked().String()}
	}
	return Who{Name: netip.PrefixFrom(ip, peer6).Masked().String(), Block: netip.PrefixFrom(ip, block6).Masked().String()}
}
