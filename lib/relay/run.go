package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/ticket"
)

// Run runs a relay until ctx ends: then it tells its peers to go away, finishes the groups that are whole
// and returns nil.
func Run(ctx context.Context, c ServerConfig) (err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Store.Logger, c.Relay.Logger = c.Logger, c.Logger
	if err := Check(c); err != nil { // first, so that a relay that cannot start leaves nothing behind
		return err
	}
	s := &running{c: c}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, step := range []func() error{s.openStore, s.openKeys, s.listen, s.startIroh, s.makeRelay, s.openDoor} {
		if err := step(); err != nil {
			return err
		}
	}
	s.warnOpen()
	if c.Ready != nil {
		c.Ready(s.started)
	}
	return s.run(ctx)
}

// warnOpen says, at every start, that everybody may publish who reaches the relay, if others can reach it.
func (s *running) warnOpen() {
	if s.c.Open && (s.node != nil && s.c.Iroh.Accept || slices.ContainsFunc(s.started.Listen, reachedByOthers)) {
		s.c.Logger.Warn("everybody who reaches this relay may publish under every name (--open)", "listen", s.started.Listen,
			"hint", "without --open those publish who show a ticket or a token, and this user's tools on this machine")
	}
}

// reachedByOthers reports whether an address is one of a network.
func reachedByOthers(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && !at.Addr().Unmap().IsLoopback()
}

// running is what a relay of the command line consists of. Run opens its parts in order, and closes what was opened in the opposite order.
type running struct {
	c       ServerConfig
	started Started
	closers []func() error

	reloading sync.Mutex // one configuration at a time
	audit     *auth.Audit
	takedowns *archive.Takedowns
	store     *store.Store
	certs     *keys.Certificates
	authority *auth.Authority
	gate      *mesh.Gate
	limits    *limits.Book
	sessions  moqt.Config // of the sessions that this relay dials
	accepted  moqt.Config // of those that others dial
	listeners []moqt.SessionListener
	node      *iroh.Node // nil: no iroh
	relay     *Relay
	status    func() Status
	page      *httpServer  // nil: no HTTP
	door      admin.Server // of the operator
	socket    net.Listener // nil: the file system has none
}

func (s *running) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *running) close() (err error) {
	for _, f := range slices.Backward(s.closers) {
		err = errors.Join(err, f())
	}
	return err
}

func (s *running) openStore() (err error) {
	if s.store, err = store.Open(s.c.Dir, s.c.Store); err != nil {
		return err
	}
	s.onClose(s.store.Close)
	if s.audit, err = auth.OpenAudit(filepath.Join(s.c.Dir, auth.AuditFile), func(err error) {
		s.c.Logger.Error("what operators and publishers do is not written down", "err", err)
	}); err != nil { // perhaps the disk is full; it is tried again with each line
		s.c.Logger.Warn("what operators and publishers do is not written down", "err", err)
	}
	s.onClose(s.audit.Close)
	if s.takedowns, err = archive.OpenTakedowns(s.c.Dir, s.store); err != nil {
		return err
	}
	lookAfter(s.c.Dir, time.Now(), s.c.Logger)
	return nil
}

// openKeys opens the keys, and says with them which sessions the relay takes.
func (s *running) openKeys() (err error) {
	c := &s.c
	if s.certs, err = openKeys(*c); err != nil {
		return err
	}
	own := s.certs.PrivateKey().Public().(ed25519.PublicKey)
	s.authority = &auth.Authority{
		Own: own, Tokens: auth.NewTokens(c.Dir), Log: c.Logger,
	}
	s.authority.Trusts(trustOf(*c, s.certs.Pin().String()))
	s.gate = &mesh.Gate{Tickets: mesh.NewTickets(c.Dir), Authority: s.authority, Peers: c.PeerIDs, Log: c.Logger}
	s.gate.SetPolicy(policyOf(*c))
	s.sessions = moqt.Config{Lenient: c.Lenient, QLogDir: c.QLogDir, Logger: c.Logger, Versions: c.Versions, NoRepair: c.NoRepair, Tally: new(moqt.Tally)}
	s.accepted = s.sessions
	s.accepted.Hosts, s.accepted.AllowOrigins, s.accepted.Authorize = s.certs.Bear, c.AllowOrigins, s.gate.Admit
	s.accepted.ResetKey = resetKey(c.Dir, c.Logger)
	s.accepted.AskWhen = s.authority.Tokens.OfKeys
	s.limits = limits.New(limits.Config{Table: tableOf(*c), Logger: c.Logger})
	s.accepted.Admit, s.accepted.Prove = s.limits.Admit, s.limits.Prove
	// A relay that this relay dials may have dialed this one, too. The certificate that it shows tells that both connections are
	// with the same relay.
	s.accepted.AskCertificate = len(c.PeerIDs) > 0 || slices.ContainsFunc(c.Relay.Upstreams, func(u Upstream) bool { return u.Peer })
	return nil
}

func (s *running) listen() (err error) {
	if s.listeners, s.started.Listen, err = listen(s.c.Listen, s.certs.TLS(), &s.accepted); err != nil {
		return err
	}
	s.started.Fingerprint = s.certs.Pin().String()
	s.onClose(func() error {
		for _, l := range s.listeners {
			l.Close()
		}
		return nil
	})
	return nil
}

// startIroh starts the node, listens at it, and makes upstreams of the peers that are known by their key.
func (s *running) startIroh() (err error) {
	if s.c.Iroh == nil {
		return nil
	}
	conf := *s.c.Iroh
	conf.Key, conf.Log = filepath.Join(s.c.Dir, keys.KeyFile), s.c.Logger
	if s.node, err = iroh.New(conf); err != nil {
		return err
	}
	s.onClose(func() error { s.node.Close(); return nil })
	if conf.Accept {
		s.listeners = append(s.listeners, moqt.ListenOn(s.node.Listener(), "iroh", &s.accepted))
	}
	s.c.Relay.Upstreams = slices.Clone(s.c.Relay.Upstreams)
	for _, id := range s.c.PeerIDs {
		byID := ticket.Ticket{Iroh: id, IrohAddrs: s.c.PeerAddrs[id]}
		s.c.Relay.Upstreams = append(s.c.Relay.Upstreams, Upstream{Relay: byID.String(), Peer: true})
	}
	return nil
}

func (s *running) makeRelay() (err error) {
	conf := s.c.Relay
	conf.Store, conf.Gate, conf.Rights, conf.Lenient, conf.Upstreams = s.store, s.gate, s.gate, s.c.Lenient, s.upstreams()
	conf.Takedowns, conf.Audit = s.takedowns, s.audit
	conf.Limits = s.limits
	conf.ScrubFile = filepath.Join(s.c.Dir, ScrubFile)
	s.relay = New(conf)
	s.relay.tally = s.sessions.Tally
	s.status = s.relay.statusOf(s.c, s.certs, &s.started, s.gate.Tickets) // nobody asks before s.started is whole
	if s.page, err = s.relay.listenHTTP(s.c, s.certs, s.started.Listen, &s.accepted, s.status); err != nil || s.page == nil {
		return err
	}
	s.onClose(func() error { s.page.close(); return nil })
	s.started.HTTP = s.page.urls
	s.listeners = append(s.listeners, Readers{s.page.moq})
	return nil
}

// upstreams are those of the configuration, with what sessions with them need.
func (s *running) upstreams() []Upstream {
	var dial keep.DialIroh
	if s.node != nil {
		dial = keep.OverIroh(s.node)
	}
	list := slices.Clone(s.c.Relay.Upstreams)
	for i := range list {
		u := &list[i]
		u.Session, u.Iroh = s.sessions, dial
		if u.Peer { // shows the peer which relay this is
			u.TLS, u.Holder = withKey(u.TLS, s.certs), mesh.Holder(s.certs.PrivateKey())
		}
	}
	return list
}

// openDoor opens the door of the operator. A relay without one runs all the same.
func (s *running) openDoor() (err error) {
	s.door.Logger = s.c.Logger
	s.relay.handleAdmin(&s.door, s.c, s.status)
	reached := s.node
	if s.node != nil && !s.c.Iroh.Accept {
		reached = nil
	}
	s.relay.handleTickets(&s.door, s.gate.Tickets, s.certs, s.started.Listen, reached)
	s.relay.handleTokens(&s.door, s.authority, s.certs)
	s.relay.handleTakedowns(&s.door)
	s.handleReload()
	s.door.Handle("relays", s.relay.relaysCommand(s.node))
	if err := s.store.Flush(); err != nil { // a crash may have left whole groups under their partial names; they get their final names
		s.c.Logger.Error("whole groups kept under their partial names", "err", err)
	}
	if s.socket, err = admin.Listen(filepath.Join(s.c.Dir, admin.SocketFile)); err != nil { // perhaps the file system has no sockets
		s.c.Logger.Warn("no door for the operator", "err", err)
	}
	return nil
}

// run serves until ctx ends.
func (s *running) run(ctx context.Context) error {
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx)) // store, iroh and page stay while sessions leave
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { s.store.Run(lasting) })
	if s.node != nil {
		background.Go(func() { s.node.Run(lasting) })
	}
	s.onClose(func() error { background.Wait(); return nil })

	g, gctx := errgroup.WithContext(ctx)
	page, leave := context.WithCancel(lasting)
	defer leave()
	g.Go(func() error {
		defer leave()
		return s.relay.Serve(gctx, s.listeners...)
	})
	if s.page != nil {
		context.AfterFunc(gctx, s.page.Leave)
		g.Go(func() error { return s.page.serve(page) })
	}
	g.Go(func() error { s.relay.watch(gctx, s.c.Counters); return nil })
	g.Go(func() error { s.obey(gctx); return nil })
	if s.c.Alive != nil && s.c.AliveEvery > 0 {
		g.Go(func() error { s.relay.beat(gctx, s.c.AliveEvery, s.c.Alive); return nil })
	}
	if s.socket != nil {
		g.Go(func() error { return s.door.Serve(gctx, s.socket) })
	}
	g.Go(func() error { s.certs.Run(gctx); return nil })
	return g.Wait()
}
