package mesh

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/ticket"
)

// ID identifies a relay: its Ed25519 public key, which is its id in iroh too.
type ID [ed25519.PublicKeySize]byte

// ParseID reads 64 hex digits.
func ParseID(text string) (id ID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%q: not the 64 hex digits of a relay's id", text)
	}
	return ID(b), nil
}

// ParsePeer reads an id, and behind an @ the addresses at which iroh may find the relay: ID@IP:PORT,IP:PORT.
func ParsePeer(text string) (id ID, addrs []string, err error) {
	text, where, has := strings.Cut(text, "@")
	if id, err = ParseID(text); err != nil || !has {
		return id, nil, err
	}
	addrs = strings.Split(where, ",")
	for _, a := range addrs {
		if _, err := netip.ParseAddrPort(a); err != nil {
			return id, nil, err
		}
	}
	return id, addrs, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IDOfKey is the id of a relay with this key.
func IDOfKey(key ed25519.PrivateKey) ID { return ID(key.Public().(ed25519.PublicKey)) }

// Holder returns the bytes by which a relay with this key is known to relays whose tickets it holds. They are the same after a
// restart, and are no key.
func Holder(key ed25519.PrivateKey) (who [16]byte) {
	h := sha256.Sum256(append([]byte("ec-join "), key.Seed()...))
	copy(who[:], h[:])
	return who
}

// Gate decides which sessions are let in, and which of them are peers.
type Gate struct {
	// Tickets are the tickets that this relay has given out.
	Tickets *Tickets
	// Peers are the keys of relays that may be peers.
	Peers []ID
	// Local returns nil if the program at the other end of a session is another process of this program, run by the same user on
	// this machine, with nothing between them; otherwise it returns why not. Default: this package's Local.
	Local func(s *moqt.Session) error
	// Authority checks tokens that are no tickets. Default: there are none.
	Authority *auth.Authority
	// Open lets everybody publish who reaches the relay. Default: only those who may.
	Open bool
	// Private lets only those read who may. Default: everybody may.
	Private bool
	// Tool is like Local for the tools of this project, which may do everything. Default: this package's Tool, and with Private its Reader.
	Tool func(s *moqt.Session) error
	// Log gets tickets and tokens that were refused, one a second as a warning, and errors of reading them. Default: none.
	Log *slog.Logger

	policy   atomic.Pointer[auth.Policy] // nil: what Open and Private say
	refusals limits.Seldom
}

func (g *Gate) log() *slog.Logger {
	if g.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return g.Log
}

// identified is a socket through which the other end has proved its key (lib/iroh).
type identified interface{ PeerID() [32]byte }

// Admit refuses a session that shows a ticket or a token which is not good. A client that shows none is let in.
func (g *Gate) Admit(_ context.Context, peer moqt.PeerInfo) error {
	_, err := g.Grants(peer)
	return err
}

// Peer reports whether the relay at the other end may be used as an upstream. right says by what right, or why not.
func (g *Gate) Peer(ctx context.Context, s *moqt.Session) (right string, ok bool) {
	info, err := s.Peer(ctx)
	if err != nil {
		return err.Error(), false
	}
	var useless error // why the ticket that was shown is not good
	for _, t := range info.Tokens {
		if t.Type != ticket.TokenType {
			continue
		}
		if useless = g.Tickets.Redeem(t.Value, time.Now()); useless == nil {
			return "ticket", true
		}
	}
	if id, ok := IDOf(s); ok && slices.Contains(g.Peers, id) {
		return "key " + id.String(), true
	}
	local := g.Local
	if local == nil {
		local = Local
	}
	if err := local(s); err != nil {
		return cmp.Or(useless, err).Error(), false
	}
	return "same user on this machine", true
}

// Who returns the proven owner of the other end of a session: a key, or this user on this machine; empty if nobody is proven. The
// holder of a ticket proves nothing, because a relay shows itself as the same holder to every relay whose ticket it has.
func (g *Gate) Who(s *moqt.Session) string {
	if id, ok := IDOf(s); ok {
		return "key " + id.String()
	}
	local := g.Local
	if local == nil {
		local = Local
	}
	if local(s) == nil {
		return "same user on this machine"
	}
	return ""
}

// IDOf returns the key that the other end of a session has proved, to ec-iroh or by a certificate.
func IDOf(s *moqt.Session) (id ID, ok bool) {
	if sock, is := s.Socket().(identified); is {
		return sock.PeerID(), true
	}
	if cert := s.PeerCertificate(); cert != nil {
		if key, is := cert.PublicKey.(ed25519.PublicKey); is && len(key) == len(id) {
			return ID(key), true
		}
	}
	return id, false
}

// notLocal says why a session does not count as one of the same user.
type notLocal string

func (e notLocal) Error() string { return string(e) }

// Local returns nil if the other end of a session is a process of this very program, run by this user on this machine, and if
// only these two have the socket between them. Sessions that came through ec-iroh, HTTP, or any program that passes on
// connections of others are not local.
func Local(s *moqt.Session) error { return local(s, ownProgram) }

// Tool is like Local for processes of this program and of the tools that lie beside it.
func Tool(s *moqt.Session) error { return local(s, ownTool) }

// Reader is like Tool for tools that give on to nobody what they read: all but a relay, which would give on what is private.
func Reader(s *moqt.Session) error { return local(s, ownReader) }

func local(s *moqt.Session, counts func(pid string) bool) error {
	sock := s.Socket()
	if _, is := sock.(identified); is {
		return notLocal("it came over iroh, with a key that is not listed")
	}
	if !s.Native() {
		return notLocal("it came over HTTP, without a ticket")
	}
	switch at := s.RemoteAddr().(type) {
	case *net.UDPAddr:
		if !at.IP.IsLoopback() {
			break
		}
		return ownPort("udp", at.AddrPort(), counts)
	case *net.TCPAddr:
		if !at.IP.IsLoopback() {
			break
		}
		return ownPort("tcp", at.AddrPort(), counts)
	default:
		if uc, is := sock.(*net.UnixConn); is {
			return ownSocket(uc, counts)
		}
	}
	return notLocal("it showed no ticket and no key that is listed")
}
