//go:build !linux

package transport

import "net"

// coalescing returns udp: only Linux hands over several datagrams at once.
func coalescing(udp net.PacketConn) net.PacketConn { return udp }
