package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ticket"
)

// Upstream names a relay from which this relay gets what it does not have.
type Upstream struct {
	Relay string      // an address as moqt.Dial takes it, or a ticket
	TLS   *tls.Config // which certificates to trust; nil: those of the system
	// Session is the configuration of the session. Its handler is set here, and all of it by Run.
	Session moqt.Config
	// Peer makes the connection serve both ways: the other relay is asked to use this one as its upstream.
	Peer bool
	// Holder and Iroh are for tickets, as in package client.
	Holder [16]byte
	Iroh   func(ctx context.Context, t *ticket.Ticket, conf *moqt.Config) (*moqt.Session, error)
	// Dial replaces moqt.Dial. Default: none.
	Dial func(ctx context.Context, address string, conf *tls.Config, c *moqt.Config) (*moqt.Session, error)
}

const (
	// refusedPause is how long an upstream is not dialed again after it refused this relay.
	refusedPause = 30 * time.Second
	// relistPause is the pause before an upstream is asked for its namespaces again.
	relistPause = time.Second
)

// upstream is one of Config.Upstreams, or a peer that dialed this relay. Relay.mu guards it.
type upstream struct {
	r        *Relay
	c        Upstream
	accepted bool // it is a peer that dialed this relay
	// publisher: it is no upstream, but a publisher that is asked for what is missing here.
	publisher bool

	s      *session // nil while it is away
	ours   bool     // it is a relay of this project, which understands routes and hops
	who    string   // the proven owner of the other end; empty if nobody is proven
	id     string   // the id that the other relay told
	self   bool     // the other relay is this one
	oneWay bool     // the other relay, a configured peer, takes this one for an ordinary client
	heardOf
	conduct
}

const (
	// maxRoutes and maxTracks bound what is heard from one upstream, and what is passed on of everything that upstreams tell.
	maxRoutes = 4096
	maxTracks = 8192
	// maxWays bounds the routes to one namespace.
	maxWays = 16
)

// heardOf are the routes and tracks that an upstream told. Relay.mu guards it.
type heardOf struct {
	routes map[string]route
	ways   map[string][]heardRoute // by namespace
	tracks map[string]trackRoute
	full   bool // it told more than fits
}

// heardRoute is a route, with the text by which the upstream may take it back.
type heardRoute struct {
	key string
	route
}

func newHeardOf() heardOf {
	return heardOf{routes: make(map[string]route), ways: make(map[string][]heardRoute), tracks: make(map[string]trackRoute)}
}

// add notes a route; false: there are too many.
func (h *heardOf) add(key string, n route) bool {
	ns := n.ns.String()
	if _, known := h.routes[key]; known {
		h.remove(key)
	}
	if len(h.routes) >= maxRoutes || len(h.ways[ns]) >= maxWays {
		return false
	}
	h.routes[key] = n
	h.ways[ns] = append(h.ways[ns], heardRoute{key, n})
	return true
}

// remove forgets a route.
func (h *heardOf) remove(key string) {
	ns := h.routes[key].ns.String()
	delete(h.routes, key)
	if h.ways[ns] = slices.DeleteFunc(h.ways[ns], func(w heardRoute) bool { return w.key == key }); len(h.ways[ns]) == 0 {
		delete(h.ways, ns)
	}
}

// name returns how the upstream is called in logs.
func (u *upstream) name() string { return keep.Name(u.c.Relay) }

// run keeps a session up until ctx ends.
func (u *upstream) run(ctx context.Context) {
	for ctx.Err() == nil {
		c := keep.Config{
			Relay: u.c.Relay, Holder: u.c.Holder, Iroh: u.c.Iroh, TLS: u.c.TLS, Log: u.r.log, RetryStart: keep.ForEver, RetryLost: keep.ForEver, Session: u.c.Session, Dial: u.c.Dial,
		}
		c.Session.Handler = &upstreamHandler{u: u}
		if u.c.Peer {
			if c.Dial == nil {
				c.Dial = moqt.Dial
			}
			c.Dial = u.dialPeer(c.Dial)
			if c.Iroh != nil {
				c.Iroh = u.dialPeerByIroh(c.Iroh)
			}
		}
		err := keep.Run(ctx, c, u.session)
		if ctx.Err() != nil {
			return
		}
		attrs := []any{"upstream", u.name(), "err", err, "pause", refusedPause}
		if hint := exit.Hint(err); hint != "" {
			attrs = append(attrs, "hint", hint)
		}
		u.r.log.Error("upstream refused, trying again later", attrs...)
		select {
		case <-ctx.Done():
		case <-time.After(refusedPause):
		}
	}
}

// session follows what the upstream has, while the session lasts. Links request the tracks that are wanted.
func (u *upstream) session(ctx context.Context, ms *keep.Session) error {
	r := u.r
	s := &session{r: r, s: ms.Session, ask: ms, name: u.name(), since: time.Now(), ingest: semaphore.NewWeighted(r.c.IngestBytes), up: u}
	peer, err := ms.Peer(ctx)
	if err != nil {
		return err
	}
	who := ""
	if r.c.Gate != nil {
		who = r.c.Gate.Who(ms.Session)
	}
	r.mu.Lock()
	u.who, u.conduct = who, conduct{}
	r.epoch++
	for _, d := range r.demands { // a new upstream is asked at once
		delete(d.pause, u)
		delete(d.refused, u)
	}
	u.s, u.ours, u.id, u.self, u.oneWay, u.heardOf = s, mesh.Ours(peer.Implementation), "", false, false, newHeardOf()
	r.mu.Unlock()
	r.log.Info("upstream", "upstream", u.name(), "over", ms.Transport(), "draft", ms.Version(), "implementation", peer.Implementation)
	defer func() {
		r.mu.Lock()
		u.s, u.heardOf = nil, heardOf{}
		r.mu.Unlock()
		r.namespacesChanged()
		ms.Close(wire.NoError, "")
		s.end()
	}()
	for {
		err := u.list(ctx, ms)
		if moved, ok := errors.AsType[*movedList](err); ok {
			ms = moved.to
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(relistPause): // meanwhile the session goes on without its list of namespaces
			r.log.Warn("upstream ended its list of namespaces, asking again", "upstream", u.name(), "err", err)
		}
	}
}

// movedList is the error that the upstream wants to be asked for its namespaces at another relay.
type movedList struct{ to *keep.Session }

func (m *movedList) Error() string { return "the list is to be had elsewhere" }

// list follows the namespaces of the upstream until it or the session ends the list.
func (u *upstream) list(ctx context.Context, ms *keep.Session) error {
	var prefix object.Namespace
	if u.ours {
		prefix = object.Namespace{routesField}
	}
	var o moqt.SubscribeNamespaceOptions
	if u.ours && u.c.Peer && !u.accepted {
		o.Tokens = []moqt.Token{{AliasType: wire.TokenUseValue, Type: peerToken, Value: []byte(u.r.id)}}
	}
	sub, err := ms.SubscribeNamespace(ctx, prefix, o)
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		// An upstream without a list may have any track, so it is asked for every track that is wanted.
		u.r.log.Warn("upstream lists no namespaces", "upstream", u.name(), "err", refused)
		u.heard(route{live: true}, "", false)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		e, err := sub.Next(ctx)
		if _, away := errors.AsType[*moqt.GoAwayError](err); away {
			to, err := ms.Move(ctx, sub)
			if err != nil {
				u.r.log.Warn("upstream wants namespaces asked for elsewhere, which fails", "upstream", u.name(), "err", err)
				continue // the list goes on here until the upstream ends it
			}
			return &movedList{to}
		}
		if err != nil {
			return err
		}
		switch key := e.Namespace.String(); {
		case !u.ours:
			u.heard(route{ns: e.Namespace, live: true}, key, e.Done)
		case len(e.Namespace) == 3 && e.Namespace[1] == stateRelay:
			u.identify(e.Namespace[2])
		case len(e.Namespace) == 3 && e.Namespace[1] == statePeer:
			u.told(e.Namespace[2])
		case len(e.Namespace) > 1 && e.Namespace[1] == stateTrack:
			if n, ok := parseTrackRoute(e.Namespace); ok && !slices.Contains(n.path, u.r.id) {
				u.heardTrack(n, key, e.Done)
			}
		default:
			if n, ok := parseRoute(e.Namespace); ok && !slices.Contains(n.path, u.r.id) {
				u.heard(n, key, e.Done)
			}
		}
	}
}

// identify notes the id of the relay at the other end.
func (u *upstream) identify(id string) {
	if !isRelayID(id) {
		return
	}
	u.r.mu.Lock()
	u.id, u.self = id, id == u.r.id
	self := u.self
	u.r.mu.Unlock()
	if self {
		u.r.log.Error("upstream is this relay itself, not used", "upstream", u.name())
	}
}

// note adds something that the upstream told, unless it has told too much; that is logged once.
func (u *upstream) note(take func() bool) {
	u.r.mu.Lock()
	some := u.s != nil && take()
	first := u.s != nil && !some && !u.full
	u.full = u.full || first
	u.r.mu.Unlock()
	if first {
		u.r.log.Warn("upstream tells of more than is heard, the rest is not asked for there", "upstream", u.name(), "namespaces", maxRoutes, "tracks", maxTracks)
	}
	if some {
		u.r.namespacesChanged()
	}
}

// heard adds a route, or removes it if it is gone.
func (u *upstream) heard(n route, key string, gone bool) {
	u.note(func() bool {
		if gone {
			u.remove(key)
			return true
		}
		return u.add(key, n)
	})
}

// heardTrack adds a track, or removes it if it is gone.
func (u *upstream) heardTrack(n trackRoute, key string, gone bool) {
	u.note(func() bool {
		if gone {
			delete(u.tracks, key)
			return true
		}
		if _, known := u.tracks[key]; !known && len(u.tracks) >= maxTracks {
			return false
		}
		u.tracks[key] = n
		return true
	})
}

// distance returns how many relays are passed on the way to a namespace, or to an announced prefix of it. It returns false if the
// upstream told no route. Without live, a route to where the namespace is stored counts too. Relay.mu is held.
func (u *upstream) distance(ns object.Namespace, live bool) (n int, ok bool) {
	if u.s == nil || u.self {
		return 0, false
	}
	for i := range len(ns) + 1 {
		for _, w := range u.ways[ns[:i].String()] {
			if (w.live || !live) && (!ok || len(w.path) < n) {
				n, ok = len(w.path), true
			}
		}
	}
	return n, ok
}

// hops returns the tokens that tell the upstream which relays a request came through.
func (u *upstream) hops(through []string) []moqt.Token {
	if !u.ours {
		return nil
	}
	return hopTokens(append(slices.Clone(through), u.r.id))
}

// passable reports whether a request that came through these relays may go on to the upstream.
func (u *upstream) passable(through []string) bool {
	return len(through) < maxHops-1 && (u.id == "" || !slices.Contains(through, u.id))
}

// upstreamHandler takes the announcements of an upstream that announces namespaces without being asked. It refuses everything
// else.
type upstreamHandler struct {
	moqt.UnimplementedHandler
	u *upstream
}

func (h *upstreamHandler) PublishNamespace(ctx context.Context, req *moqt.PublishNamespaceRequest) {
	if err := req.Accept(); err != nil {
		return
	}
	key := "announced " + req.Namespace.String()
	h.u.heard(route{ns: req.Namespace, live: true}, key, false)
	<-ctx.Done()
	h.u.heard(route{}, key, true)
}
