//go:build !linux

package transport

import "net"

// coalescing returns udp: only Linux hands over several datagrams at once.
func coalescing(udp net.PacketConn) net.PacketConn { return udp }

// oneSocket reads datagrams one by one.
type oneSocket struct {
	*net.UDPConn
	buf, oob []byte
}

// bulkSocket returns a socket that reads one datagram at a time: only Linux hands over several as one.
func bulkSocket(u *net.UDPConn) (s *oneSocket, coalesced bool) {
	return &oneSocket{u, make([]byte, 1<<16), make([]byte, 192)}, false
}

// Pending reports that the next datagram may have to be waited for.
func (s *oneSocket) Pending() bool { return false }

// ReadDatagram returns the next datagram, with the control messages that came with it. It is valid until the next call.
func (s *oneSocket) ReadDatagram() (b, oob []byte, from *net.UDPAddr, err error) {
	n, oobn, _, from, err := s.ReadMsgUDP(s.buf, s.oob)
	if err != nil {
		return nil, nil, nil, err
	}
	return s.buf[:n], s.oob[:oobn], from, nil
}
