package repair

import (
	"crypto/rand"
	"encoding/binary"
	"net"
)

// A path is listed at, and its frames go to, an address at which its peer has shown to be: by the cookie of the handshake, and later by the
// answer to a challenge. A frame with the right tag does not show that: whoever has a path of their own can send from a forged address.

// candidate is another address from which the peer's newest frame came.
type candidate struct {
	addr      *net.UDPAddr // nil: there is none
	challenge uint64       // goes nowhere but there
	received  int          // bytes since, from there and to there
	spent     int
}

// seen notes from where a frame with the right tag came; newest says that none with a higher number did before.
func (p *path) seen(from *net.UDPAddr, size int, newest bool) {
	switch {
	case same(from, p.next.addr):
		p.next.received += size
	case !newest:
	case same(from, p.addr):
		p.next = candidate{}
	default:
		p.next = candidate{addr: from, challenge: challenge(), received: size}
		p.told = 0 // say something that the peer answers to
		p.active.Store(true)
	}
}

// arrived reports whether an answer shows that the peer is at the candidate, which is the path's address then.
func (p *path) arrived(answer uint64, from *net.UDPAddr) bool {
	if p.next.addr == nil || answer != p.next.challenge || !same(from, p.next.addr) {
		return false
	}
	p.addr, p.next = p.next.addr, candidate{}
	p.reported, p.settled = false, p.stamp(p.conn.now())
	return true
}

// say sends a control frame to where the peer seems to be, which gets at most three times what came from there before it has answered.
func (p *path) say(b []byte) {
	to := p.addr
	if n := &p.next; n.addr != nil {
		if !n.affords(len(b)) {
			return
		}
		to = n.addr
		n.spent += len(b)
	}
	p.conn.socket.WriteMsgUDP(b, withSegment(p.oob, 0), to) // a frame that cannot be sent is lost
}

func (n *candidate) affords(size int) bool { return n.spent+size <= 3*n.received }

// challenge is a number that nobody guesses, and not 0.
func challenge() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) | 1
}

// same compares addresses; none is like nil.
func same(a, b *net.UDPAddr) bool {
	return a != nil && b != nil && a.Port == b.Port && a.IP.Equal(b.IP)
}
