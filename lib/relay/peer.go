package relay

import (
	"context"
	"crypto/tls"
	"time"

	"golang.org/x/sync/semaphore"

	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// Gate decides which sessions are let in, and which of them may be peers; package mesh has one.
type Gate interface {
	// Admit returns an error if a client may not have a session, judged by what it showed in its setup. It is asked before the
	// setup is answered, and again once the session is up, because a ticket may have been revoked meanwhile.
	Admit(ctx context.Context, peer moqt.PeerInfo) error
	// Peer reports whether a session may be an upstream of this relay; right says by what right, or why not.
	Peer(ctx context.Context, s *moqt.Session) (right string, ok bool)
	// Who returns a text for the proven owner of the other end of a session, dialed or accepted. The text is the same for the
	// same owner, and empty if nobody is proven.
	Who(s *moqt.Session) string
}

// Two relays are peers if they share one connection and each is an upstream of the other. The relay that dialed says that it
// wants to be a peer in its request for routes (docs/format/chain.md); the relay that accepted agrees only if its Gate does.

// After statePeer comes one of the two words below, in an answer to a relay that asked to be a peer.
const (
	statePeer    = "peer"
	peerAccepted = "both"
	peerRefused  = "client"
)

// peerToken ("ec-peer") is the type of the token with which a relay asks to be an upstream of the relay that it dialed. The
// token's value is the id of the relay that asks.
const peerToken = 0x65632d70656572

func isPeer(tokens []moqt.Token) bool {
	for _, t := range tokens {
		if t.Type == peerToken && isRelayID(string(t.Value)) {
			return true
		}
	}
	return false
}

// adopt makes a session that was accepted an upstream too, if the gate allows it. It returns the word with which the peer is told
// the decision.
func (s *session) adopt(ctx context.Context) string {
	if s.reader {
		s.r.log.Warn("session would be a peer, but came by HTTP, where there are only readers", "peer", s.name)
		return peerRefused
	}
	if s.r.c.Gate == nil {
		return peerRefused
	}
	right, ok := s.r.c.Gate.Peer(ctx, s.s)
	if !ok {
		s.r.log.Warn("session would be a peer, but is an ordinary client", "peer", s.name, "why", right,
			"hint", "it is a peer if it dials with a ticket of this relay (ec-relay ticket), or if --peer here lists its id")
		return peerRefused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.adopted {
		return peerAccepted
	}
	u := &upstream{r: s.r, c: Upstream{Relay: s.name, Peer: true}, accepted: true}
	if !s.r.addUpstream(u) {
		s.r.log.Warn("session would be a peer, but is an ordinary client", "peer", s.name, "why", "there are as many as may be", "peers", maxPeers)
		return peerRefused
	}
	s.adopted = true
	s.claims.Go(func() {
		s.r.log.Info("peer", "peer", s.name, "by", right)
		defer s.r.removeUpstream(u)
		u.session(s.s.Context(), keep.Over(s.s.Context(), s.s, s.name, s.r.log))
	})
	return peerAccepted
}

// maxPeers bounds the peers that dialed this relay.
const maxPeers = 64

// addUpstream adds an upstream for as long as its session lasts. It returns false if there are too many.
func (r *Relay) addUpstream(u *upstream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.upstreams)-len(r.configured) >= maxPeers {
		return false
	}
	r.upstreams = append(r.upstreams, u)
	return true
}

// removeUpstream removes an upstream whose session is over.
func (r *Relay) removeUpstream(u *upstream) {
	r.mu.Lock()
	for i, o := range r.upstreams {
		if o == u {
			// This makes a new list, because others may still be walking the old one.
			r.upstreams = append(append([]*upstream(nil), r.upstreams[:i]...), r.upstreams[i+1:]...)
			break
		}
	}
	for _, d := range r.demands {
		delete(d.pause, u)
		delete(d.refused, u)
	}
	r.mu.Unlock()
	r.namespacesChanged()
}

// chained reports whether this relay has upstreams.
func (r *Relay) chained() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.upstreams) > 0
}

// usable returns the upstreams that may be asked: of several connections with the same relay only one. Anybody may claim any id.
// So an id without a proof of the key hides no other connection, and an id with a proof hides only connections with the same
// proof. Relay.mu is held.
func (r *Relay) usable() (list []*upstream) {
	type proven struct{ id, who string }
	seen := make(map[proven]bool, len(r.upstreams))
	for _, u := range r.upstreams {
		same := proven{u.id, u.who}
		if u.s == nil || u.self || u.id != "" && u.who != "" && seen[same] {
			continue
		}
		seen[same] = true
		list = append(list, u)
	}
	return list
}

// dialPeer dials like dial, and then serves the peer on the same session like a client that dialed this relay.
func (u *upstream) dialPeer(dial dialer) dialer {
	return func(ctx context.Context, address string, conf *tls.Config, c *moqt.Config) (*moqt.Session, error) {
		ms, err := dial(ctx, address, conf, c)
		return u.welcome(ms), err
	}
}

// dialPeerByIroh does the same over iroh.
func (u *upstream) dialPeerByIroh(dial keep.DialIroh) keep.DialIroh {
	return func(ctx context.Context, t *ticket.Ticket, c *moqt.Config) (*moqt.Session, error) {
		ms, err := dial(ctx, t, c)
		return u.welcome(ms), err
	}
}

// welcome serves a peer that was dialed like a client that dialed this relay. ms may be nil.
func (u *upstream) welcome(ms *moqt.Session) *moqt.Session {
	if ms != nil {
		s := &session{r: u.r, s: ms, name: u.name(), since: time.Now(), ingest: semaphore.NewWeighted(u.r.c.IngestBytes)}
		ms.Handle(&peerHandler{s, &upstreamHandler{u: u}})
	}
	return ms
}

type dialer = func(ctx context.Context, address string, conf *tls.Config, c *moqt.Config) (*moqt.Session, error)

// peerHandler serves a peer that this relay dialed. Namespaces that the peer announces are routes, as with any upstream; nothing
// is pushed to it.
type peerHandler struct {
	*session
	up *upstreamHandler
}

func (h *peerHandler) PublishNamespace(ctx context.Context, req *moqt.PublishNamespaceRequest) {
	h.up.PublishNamespace(ctx, req)
}

func (h *peerHandler) Publish(_ context.Context, req *moqt.PublishRequest) {
	req.Reject(wire.RequestNotSupported, "a peer is asked for what is wanted of it")
}

// bothWays reports whether this relay and the upstream are peers.
func (u *upstream) bothWays() bool {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return u.c.Peer && !u.oneWay
}

// told notes, once, whether a peer agreed to have this relay as an upstream.
func (u *upstream) told(word string) {
	u.r.mu.Lock()
	u.oneWay = word == peerRefused
	u.r.mu.Unlock()
	if word == peerRefused {
		u.r.log.Warn("peer takes this relay for an ordinary client, so nothing published here can be had there", "upstream", u.name(),
			"hint", "dial with a ticket of that relay (ec-relay ticket there), or let --peer there list this relay's id; its log says more")
	}
}

var _ moqt.Handler = (*peerHandler)(nil)
