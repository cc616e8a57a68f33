package repair

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// The handshake finds out beside QUIC's own whether the other side has this layer: hello, cookie, confirm. The side that dialed begins.
// The other side keeps nothing until the confirmation has shown that the address is not forged.

const (
	magic      = "ECRP"
	version    = 1
	keyLen     = 32
	cookieMAC  = 28
	prefixLen  = 8 // type, magic, version, two zeros
	helloLen   = 96
	cookieLen  = prefixLen + keyLen + 8 + 4 + cookieMAC
	confirmLen = prefixLen + keyLen + 4 + cookieMAC + 4 + tagLen
	cookieFor  = 30 * time.Second
)

// helloAt is when a hello that nobody answered is said again; then the peer counts as one without the layer.
// The first few are close together, as what QUIC says in the meantime is not repaired.
var helloAt = [...]time.Duration{
	0, 15 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
}

func prefix(kind byte) []byte {
	return append(append([]byte{kind}, magic...), version, 0, 0)
}

func isPrefix(b []byte) bool {
	return len(b) >= prefixLen && string(b[1:5]) == magic && b[5] == version
}

// offer is a handshake that this side began and has not ended.
type offer struct {
	to     *net.UDPAddr
	key    *ecdh.PrivateKey
	began  time.Duration
	said   int
	path   *path // nil: no cookie came
	cookie []byte
}

// Offer begins the handshake with a server. It returns at once; nothing waits for the answer.
func (c *Conn) Offer(to *net.UDPAddr) error {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.offers = append(c.offers, &offer{to: to, key: key, began: c.now()})
	c.mu.Unlock()
	c.greet()
	c.wake()
	return nil
}

// greet says what is due in handshakes that this side began. It returns whether there are any.
func (c *Conn) greet() bool {
	c.mu.RLock()
	none := len(c.offers) == 0
	c.mu.RUnlock()
	if none {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for i := 0; i < len(c.offers); i++ {
		o := c.offers[i]
		if o.heard() || o.said == len(helloAt) && now-o.began > helloAt[len(helloAt)-1]+time.Second {
			c.offers = append(c.offers[:i], c.offers[i+1:]...)
			i--
			continue
		}
		if o.said == len(helloAt) || now-o.began < helloAt[o.said] {
			continue
		}
		o.said++
		c.socket.WriteMsgUDP(o.next(now), nil, o.to)
	}
	return len(c.offers) > 0
}

// next is what is to be said now.
func (o *offer) next(now time.Duration) []byte {
	public := o.key.PublicKey().Bytes()
	if o.path == nil {
		b := append(prefix(typeHello), public...)
		return append(b, make([]byte, helloLen-len(b))...)
	}
	p := o.path
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := p.stamp(now)
	p.marks[0] = mark{stamp, p.plain}
	b := append(append(prefix(typeConfirm), public...), o.cookie...)
	return p.tx.seal.seal(binary.BigEndian.AppendUint32(b, stamp), 0, 0, uint64(stamp))
}

// heard reports whether the server has answered to the confirmation.
func (o *offer) heard() bool {
	if o.path == nil {
		return false
	}
	o.path.mu.Lock()
	defer o.path.mu.Unlock()
	return o.path.rtt.n > 0
}

// cookie is what a client at an address must bring back with its key.
func (c *Conn) cookie(made uint32, client []byte, from netip.AddrPort) []byte {
	m := hmac.New(sha256.New, c.cookieKey[:])
	b := binary.BigEndian.AppendUint32(nil, made)
	m.Write(b)
	m.Write(client)
	text, _ := key(from).MarshalBinary()
	m.Write(text)
	return append(b, m.Sum(nil)[:cookieMAC]...)
}

func (c *Conn) millis() uint32 { return uint32(c.now() / time.Millisecond) }

// handshake takes a frame of the handshake.
func (c *Conn) handshake(b, oob []byte, from *net.UDPAddr) {
	if !isPrefix(b) {
		return
	}
	switch {
	case b[0] == typeHello && c.o.Accept && len(b) >= helloLen:
		client := b[prefixLen : prefixLen+keyLen]
		hash := sha256.Sum256(client)
		out := append(prefix(typeCookie), c.key.PublicKey().Bytes()...)
		out = append(append(out, hash[:8]...), c.cookie(c.millis(), client, from.AddrPort())...)
		c.socket.WriteMsgUDP(out, replyOOB(oob), from) // shorter than the hello
	case b[0] == typeCookie && len(b) == cookieLen:
		c.answered(b[prefixLen:], from)
	case b[0] == typeConfirm && c.o.Accept && len(b) == confirmLen:
		c.confirmed(b, oob, from)
	}
}

// answered takes the server's key and cookie: the path is there, as far as this side goes.
func (c *Conn) answered(b []byte, from *net.UDPAddr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.offers {
		client := o.key.PublicKey().Bytes()
		hash := sha256.Sum256(client)
		if o.path != nil || !bytes.Equal(hash[:8], b[keyLen:keyLen+8]) {
			continue
		}
		up, down, ok := c.agree(o.key, b[:keyLen], client, b[:keyLen])
		if !ok {
			return
		}
		p, now := newPath(c, up, down, from), c.now()
		p.number, p.told = 1, now  // the confirmation is number 0
		p.rtt.guess(now - o.began) // until it is measured; which hello this answers is not known
		o.path, o.to, o.began, o.said = p, from, now, 1
		o.cookie = append(o.cookie, b[keyLen+8:]...)
		c.socket.WriteMsgUDP(o.next(now), nil, from)
		c.add(p)
		return
	}
}

// agree derives the keys of a path.
func (c *Conn) agree(mine *ecdh.PrivateKey, theirs, client, server []byte) (up, down sealer, ok bool) {
	public, err := ecdh.X25519().NewPublicKey(theirs)
	if err != nil {
		return up, down, false
	}
	secret, err := mine.ECDH(public)
	if err != nil {
		return up, down, false
	}
	up, down, err = sealers(secret, client, server)
	return up, down, err == nil
}

// confirmed takes the client's word: from here on there is a path.
func (c *Conn) confirmed(b, oob []byte, from *net.UDPAddr) {
	client := b[prefixLen : prefixLen+keyLen]
	brought := b[prefixLen+keyLen : prefixLen+keyLen+4+cookieMAC]
	made := binary.BigEndian.Uint32(brought)
	age := time.Duration(c.millis()-made) * time.Millisecond
	if age > cookieFor || !hmac.Equal(brought, c.cookie(made, client, from.AddrPort())) {
		return
	}
	if p := c.lookup(from.AddrPort()); p != nil && bytes.Equal(p.peer[:], client) {
		if p.confirms(b) {
			c.answer(p, b, oob)
		}
		return
	}
	up, down, ok := c.agree(c.key, client, client, c.key.PublicKey().Bytes())
	if !ok || !up.open(b, 0, uint64(binary.BigEndian.Uint32(b[len(b)-tagLen-4:]))) {
		return
	}
	p := newPath(c, down, up, from)
	copy(p.peer[:], client)
	p.rtt.guess(age)
	c.mu.Lock()
	there := c.add(p)
	c.mu.Unlock()
	if there {
		c.answer(p, b, oob)
		c.wake()
	}
}

// confirms reports whether a CONFIRM is from the peer of this path.
func (p *path) confirms(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open.open(b, 0, uint64(binary.BigEndian.Uint32(b[len(b)-tagLen-4:])))
}

// answer tells a client that its word was heard.
func (c *Conn) answer(p *path, b, oob []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := c.now()
	if stamp := binary.BigEndian.Uint32(b[len(b)-tagLen-4:]); p.echoAt == 0 || int32(stamp-p.echo) > 0 {
		p.echo, p.echoAt = stamp, now
	}
	if len(p.oob) == 0 {
		p.oob = replyOOB(oob)
	}
	p.tell(now, nil)
}
