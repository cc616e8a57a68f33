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

// Gate decides what a session may be besides an ordinary client; package mesh has one.
type Gate interface {
	// Admit reports why who has shown this in its setup may not have a session. It is asked before that is answered, and once more when
	// the session is up: meanwhile a ticket may have been revoked.
	Admit(ctx context.Context, peer moqt.PeerInfo) error
	// Peer reports by what right a session may be an upstream of this relay, or why not.
	Peer(ctx context.Context, s *moqt.Session) (right string, ok bool)
	// Who is the proven owner of the other end of a session, dialed or accepted: the same text for the same one. Empty: nobody is proven.
	Who(s *moqt.Session) string
}

// Peers are two relays with one connection, each an upstream of the other. The one that dialed says in its request for
// routes that it is one (docs/format/chain.md); the one that accepted believes it only if its Gate does.

// statePeer is followed by one of the two words below, for a relay that asked as a peer.
const (
	statePeer    = "peer"
	peerAccepted = "both"
	peerRefused  = "client"
)

// peerToken is "ec-peer": type of the token with which a relay asks to be an upstream of the one that it dialed. Its value is its id.
const peerToken = 0x65632d70656572

func isPeer(tokens []moqt.Token) bool {
	for _, t := range tokens {
		if t.Type == peerToken && isRelayID(string(t.Value)) {
			return true
		}
	}
	return false
}

// adopt makes an upstream of a session that was accepted, if the gate lets it be one. It reports what the session is told.
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
		s.r.log.Warn("session would be a peer, but is an ordinary client", "peer", s.name, "why", right)
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

// maxPeers bounds the peers that came here.
const maxPeers = 64

// addUpstream adds one for as long as its session lasts; false: there are too many.
func (r *Relay) addUpstream(u *upstream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.upstreams)-len(r.configured) >= maxPeers {
		return false
	}
	r.upstreams = append(r.upstreams, u)
	return true
}

// removeUpstream forgets one whose session is over.
func (r *Relay) removeUpstream(u *upstream) {
	r.mu.Lock()
	for i, o := range r.upstreams {
		if o == u {
			// A new list: who has the old one goes on with it.
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

// chained reports whether there are upstreams.
func (r *Relay) chained() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.upstreams) > 0
}

// usable returns the upstreams that may be asked: one of several connections with the same relay. Anybody may tell anybody's id, so an
// id without a proof hides no other connection, and one with a proof only those with the same proof. Relay.mu is held.
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

// dialPeer dials as dial does, and serves the peer there like a client that came here.
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

// welcome serves who was dialed like who came here. ms may be nil.
func (u *upstream) welcome(ms *moqt.Session) *moqt.Session {
	if ms != nil {
		s := &session{r: u.r, s: ms, name: u.name(), since: time.Now(), ingest: semaphore.NewWeighted(u.r.c.IngestBytes)}
		ms.Handle(&peerHandler{s, &upstreamHandler{u: u}})
	}
	return ms
}

type dialer = func(ctx context.Context, address string, conf *tls.Config, c *moqt.Config) (*moqt.Session, error)

// peerHandler serves a peer that was dialed. What it announces is a route, as with any upstream; nothing is pushed.
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

// told notes once what a peer says of this relay's wish to be its upstream.
func (u *upstream) told(word string) {
	if word == peerRefused {
		u.r.log.Warn("peer takes this relay for an ordinary client: it lists no key of this relay, and no ticket was shown", "upstream", u.name())
	}
}

var _ moqt.Handler = (*peerHandler)(nil)
