package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"golang.org/x/sync/semaphore"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/trace"
)

// Config holds what a relay needs to know. Store is required.
type Config struct {
	Store *store.Store
	// Logger gets events. Default: none.
	Logger *slog.Logger
	// CacheBytes bounds the payloads of all live tracks kept in memory; older groups are served from
	// disk. Each live track may keep 8 MiB as long as all keep less than 1 GiB, or four times CacheBytes. Default 256 MiB.
	CacheBytes int64
	// StallWait is how long a group that nobody continues is waited for once a newer group exists. Then the subscribers' streams
	// of the group are reset. Default 2 s.
	StallWait time.Duration
	// MaxAhead is how far ahead of this machine's clock a group may be whose id stands for a time; 0: 90 minutes, negative: any number.
	MaxAhead time.Duration
	// MaxLag is how many groups further behind the newest group a subscriber may be than it was at its closest. Beyond that, the
	// oldest group that it is being sent is reset, and the next one is begun. Default 30.
	MaxLag int
	// MaxSessions bounds sessions; more are refused. Default 1000. Limits, if given, has that bound.
	MaxSessions int
	// Limits bounds what each peer may use up. Default: one with the usual bounds.
	Limits *limits.Book
	// IngestBytes bounds the payload bytes that one session may have on their way in; further bytes wait in the transport.
	// Default 256 MiB.
	IngestBytes int64
	// DrainTimeout is how long sessions may stay after they were told to go away. Default 2 s.
	DrainTimeout time.Duration
	// Upstreams are relays from which this relay gets what it does not have. Default: none.
	Upstreams []Upstream
	// Gate decides which sessions may be upstreams too, if they ask for it. Default: none may.
	Gate Gate
	// Takedowns are what is neither taken nor served, which Store withholds already. Default: nothing.
	Takedowns *archive.Takedowns
	// Audit gets who did what. Default: none.
	Audit *auth.Audit
	// Rights decides who may do what. Default: everybody may do everything.
	Rights Rights
	// Mirror are prefixes of namespaces of which this relay keeps a whole copy: it subscribes to what is live at upstreams, and
	// fetches what they have stored. Default: none.
	Mirror []object.Namespace
	// MirrorRate bounds the bytes a second that are fetched for mirrors. Default: no bound.
	MirrorRate int64
	// ScrubRate bounds the bytes a second that are read to compare stored groups with their hashes. Default: none is.
	ScrubRate int64
	// ScrubFile is where it is noted how far that is. Default: nowhere.
	ScrubFile string
	// Lenient sends a track that has only one object so far, such as a catalog, from its start to clients that subscribe to the
	// objects after it. Such clients also write FETCH in a form of their own, which is refused, so they would wait for ever.
	Lenient bool
	// Linger is how long a track is still taken from upstreams after its last subscriber left. Default 10 s.
	Linger time.Duration
	// Traces takes the ways of some objects. Default: nobody looks.
	Traces *trace.Tracer
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.CacheBytes = settings.Or(c.CacheBytes, 256<<20)
	c.StallWait = settings.Or(c.StallWait, 2*time.Second)
	c.MaxAhead = settings.Or(c.MaxAhead, 90*time.Minute)
	if c.MaxLag <= 0 {
		c.MaxLag = 30
	}
	if c.MaxSessions <= 0 {
		c.MaxSessions = 1000
	}
	if c.IngestBytes <= 0 {
		c.IngestBytes = 256 << 20
	}
	c.DrainTimeout = settings.Or(c.DrainTimeout, 2*time.Second)
	c.Linger = settings.Or(c.Linger, 10*time.Second)
	if c.Limits == nil {
		c.Limits = newLimits(c)
	}
	return c
}

// Relay is the server. Its methods may be called concurrently.
type Relay struct {
	c      Config
	store  *store.Store
	log    *slog.Logger
	stats  counters
	live   *live.Memory
	limits *limits.Book
	tuned  atomic.Pointer[tuning]
	tally  *moqt.Tally // the counters of the transport; nil: none
	id     string      // this relay's id among relays

	configured []*upstream  // the upstreams of Config
	mirror     *mesh.Mirror // nil: none
	mend       *mesh.Mirror // fetches what is missing of tracks that are published here
	mending    mending
	scrub      *archive.Scrub // nil: none
	lists      chan struct{}  // holds a token for each list of a publisher that is being read
	turns      turns
	refusals   limits.Seldom
	misses     misses
	apart      limits.Seldom // lines about groups that are held apart
	complaint  atomic.Int64  // when it was last logged that objects from upstreams could not be stored, in Unix ns

	mu          sync.Mutex // guards what follows
	tracks      map[string]*track
	idle        map[string]weak.Pointer[track] // forgotten tracks; as long as anybody holds one, it stays the only one with its name
	swept       int                            // how many of idle were held when it was last looked through
	forgot      time.Time                      // when tracks were last looked through for forgetting
	sessions    map[*session]struct{}
	keepersHere map[*session]*keeper
	kept        int         // tracks of all keepers
	upstreams   []*upstream // those of the configuration first, then peers that came here
	epoch       int         // counts the sessions with upstreams, so that old answers can be told apart
	demands     map[*track]*demand
	arriving    map[string]*arriving       // by track
	expected    map[string][]*expected     // subscribers on their way, by track
	announced   map[*announcement]struct{} // PUBLISH_NAMESPACE in force
	listeners   map[chan struct{}]struct{} // woken when namespaces may have changed
}

// New makes a relay. It serves nothing before Serve.
func New(c Config) *Relay {
	c = c.withDefaults()
	r := &Relay{
		c: c, store: c.Store, limits: c.Limits, live: live.New(live.Config{CacheBytes: c.CacheBytes, Stall: c.StallWait, Logger: c.Logger, Naming: namingOf, MaxAhead: c.MaxAhead}), log: c.Logger, id: newRelayID(), turns: newTurns(),
		tracks: make(map[string]*track), idle: make(map[string]weak.Pointer[track]), sessions: make(map[*session]struct{}), demands: make(map[*track]*demand), expected: make(map[string][]*expected), arriving: make(map[string]*arriving),
		mending: mending{at: make(map[mendingGroup]time.Time)}, lists: make(chan struct{}, maxLists), keepersHere: make(map[*session]*keeper), announced: make(map[*announcement]struct{}), listeners: make(map[chan struct{}]struct{}),
	}
	r.Tune(c)
	for _, u := range c.Upstreams {
		r.configured = append(r.configured, &upstream{r: r, c: u})
	}
	r.upstreams = slices.Clone(r.configured)
	if c.Takedowns != nil {
		c.Takedowns.Changed = r.Enforce
	}
	r.mend = &mesh.Mirror{Library: mender{library{r}}, Word: "backfill", Done: "backfilled", Logger: c.Logger}
	r.scrub = newScrub(r)
	if len(c.Mirror) > 0 {
		r.mirror = &mesh.Mirror{Library: library{r}, Rate: c.MirrorRate, Logger: c.Logger}
		if len(c.Upstreams) == 0 {
			r.log.Info("nothing to mirror yet: no upstream or peer to dial was given, so copies come from peers that dial this relay")
		}
	}
	return r
}

// Serve serves the sessions of the listeners until ctx ends; then it tells them to go away, waits for
// them to leave, but not for ever, and returns nil. It does not close the listeners.
func (r *Relay) Serve(ctx context.Context, listeners ...moqt.SessionListener) error {
	// Sessions may outlive ctx by the time that they may take to leave.
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var accepts, sessions sync.WaitGroup
	errs := make([]error, len(listeners))
	actx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(actx, func() { time.AfterFunc(r.tuned.Load().drain, r.store.LeaveTier) })() // a bucket may hang
	for i, l := range listeners {
		serve := r.serve
		if _, readers := l.(Readers); readers {
			serve = r.serveReader
		}
		accepts.Go(func() {
			defer stop()
			for {
				s, err := l.Accept(actx)
				if err != nil {
					if actx.Err() == nil {
						errs[i] = fmt.Errorf("listen on %v: %w", l.Addr(), err)
					}
					return
				}
				sessions.Go(func() { serve(live, s) })
			}
		})
	}
	accepts.Go(func() { r.watchRetention(actx) })
	accepts.Go(func() { r.watchMemory(actx) })
	if r.c.Rights != nil {
		accepts.Go(func() { r.watchGrants(actx) })
	}
	if r.c.Takedowns != nil {
		accepts.Go(func() { r.watchFound(actx) })
	}
	for _, u := range r.configured {
		accepts.Go(func() { u.run(actx) })
	}
	accepts.Go(func() { r.steer(actx) })
	accepts.Go(func() { r.mend.Run(actx) })
	if r.mirror != nil {
		accepts.Go(func() { r.mirror.Run(actx) })
	}
	if r.scrub != nil {
		accepts.Go(func() { r.scrub.Run(actx) })
	}
	if r.c.Traces != nil {
		tracing, done := context.WithCancel(context.WithoutCancel(ctx))
		var tracer sync.WaitGroup
		tracer.Go(func() { r.c.Traces.Run(tracing) })
		defer tracer.Wait()
		defer done() // behind the last session
	}
	accepts.Wait()
	r.drain()
	gone := make(chan struct{})
	go func() { sessions.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(r.tuned.Load().drain):
	}
	kill()
	<-gone
	return errors.Join(errs...)
}

// drain tells all sessions to go away, and ends the sessions that only subscribe.
func (r *Relay) drain() {
	r.mu.Lock()
	sessions := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range sessions {
		wg.Go(func() { s.leave(r.tuned.Load().drain) })
	}
	wg.Wait()
}

// serve runs one session to its end.
func (r *Relay) serve(ctx context.Context, ms *moqt.Session) { r.serveSession(ctx, r.session(ms)) }

// serveReader runs a session that may not publish, to its end.
func (r *Relay) serveReader(ctx context.Context, ms *moqt.Session) {
	s := r.session(ms)
	s.reader = true
	r.serveSession(ctx, s)
}

// serveInside runs a session of this relay's own HTTP server, which asks its readers for their tokens itself.
// They may read the namespace ns.
func (r *Relay) serveInside(ctx context.Context, ms *moqt.Session, ns object.Namespace) {
	s := r.session(ms)
	s.reader, s.inside = true, true
	s.access.confine(ns)
	r.serveSession(ctx, s)
}

func (r *Relay) session(ms *moqt.Session) *session {
	s := &session{r: r, s: ms, name: ms.RemoteAddr().String(), since: time.Now(), ingest: semaphore.NewWeighted(r.c.IngestBytes)}
	s.access.r, s.access.s = r.c.Rights, s
	return s
}

func (r *Relay) serveSession(ctx context.Context, s *session) {
	ms := s.s
	ms.Handle(guard{s})
	r.mu.Lock()
	r.sessions[s] = struct{}{}
	r.mu.Unlock()
	left, err := r.setUp(ctx, s)
	if err == nil {
		r.log.Info("session", "peer", s.name, "draft", ms.Version())
	}
	runErr := ms.Run(ctx)
	s.end()
	r.forgetKeeper(s) // nothing is attached to the session any more
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
	if err != nil {
		return
	}
	left()
	if err = runErr; err != nil && ctx.Err() == nil {
		r.log.Info("session over", "peer", s.name, "err", err)
	} else {
		r.log.Info("session over", "peer", s.name)
	}
}

// setUp sets a session up, and counts it as one of its peer until left is called. An error says that it is over: there are too many, or its
// handshake or its tokens are no good. Run is to be called all the same.
func (r *Relay) setUp(ctx context.Context, s *session) (left func(), err error) {
	over, err := s.arrive()
	if err == nil {
		if err = s.s.Handshake(ctx); err != nil && ctx.Err() == nil {
			r.log.Log(ctx, r.refusals.Level(), "session not set up", "peer", s.name, "err", err)
		}
		if err == nil {
			err = r.admit(ctx, s)
		}
		over()
		if err != nil {
			return nil, err
		}
		left, err = s.enter()
	}
	if err != nil {
		r.stats.refusedSessions.Add(1)
		s.s.Close(wire.InternalError, "too many sessions: "+err.Error())
	}
	return left, err
}

// admit ends a session whose ticket or token was revoked during its handshake, and takes over what the tokens say. Revoking a ticket ends the
// sessions that are up; a session that is not up yet has shown no token by then, so it is checked here.
func (r *Relay) admit(ctx context.Context, s *session) error {
	ms := s.s
	if r.c.Gate == nil && r.c.Rights == nil {
		return nil
	}
	info, err := ms.Peer(ctx)
	if err == nil && r.c.Gate != nil {
		err = r.c.Gate.Admit(ctx, info)
	}
	if err == nil && r.c.Rights != nil {
		var grants []*auth.Grant
		grants, err = r.c.Rights.Grants(info)
		s.access.came(grants)
		if grants, kerr := r.c.Rights.ByKey(ms); kerr != nil {
			r.log.Error("keys of clients cannot be looked at", "err", kerr)
		} else {
			s.access.came(grants)
		}
		if out := s.access.enter(); err == nil && out != nil {
			r.log.Log(ctx, r.refusals.Level(), "session refused", "peer", s.name, "why", out.Reason)
			err = out
		}
	}
	if refused, is := errors.AsType[*moqt.SessionError](err); is {
		ms.Close(refused.Code, refused.Reason)
		return refused
	}
	return nil
}

// track returns the track with a name, and makes it if need be.
func (r *Relay) track(name object.TrackName) *track {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trackLocked(name)
}

// trackLocked does the same while Relay.mu is held.
func (r *Relay) trackLocked(name object.TrackName) *track {
	key := name.String()
	t := r.held(key)
	if t == nil {
		t = newTrack(r, name)
	}
	r.tracks[key] = t
	delete(r.idle, key)
	return t
}

// held returns a track that is known, or that was forgotten while somebody still holds it; otherwise nil. Relay.mu is held.
func (r *Relay) held(key string) *track {
	if t := r.tracks[key]; t != nil {
		return t
	}
	return r.idle[key].Value()
}

// asked returns a track for which others are to be asked. over must be called when they have answered: if they have nothing, the track is
// forgotten again, because names are easily invented.
func (r *Relay) asked(name object.TrackName) (t *track, over func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t = r.trackLocked(name)
	t.asking++
	return t, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if t.asking--; t.asking > 0 || t.subs.count() > 0 || !t.Empty() || t.Exists() {
			return
		}
		if r.demands[t] != nil { // links at upstreams remember for a moment that they were refused
			t.idle = time.Now().Add(-forgetAfter)
			return
		}
		r.drop(t.name.String(), t)
	}
}

// drop forgets a track. Relay.mu is held.
func (r *Relay) drop(key string, t *track) {
	delete(r.tracks, key)
	r.idle[key] = weak.Make(t)
	r.store.Forget(t.name)
	if len(r.idle) > 2*r.swept+64 {
		r.sweep()
	}
}

// sweep drops the tracks that were forgotten and that nobody holds any more. The map is made anew, because one that shrinks gives no memory
// back. Relay.mu is held.
func (r *Relay) sweep() {
	held := make(map[string]weak.Pointer[track])
	for key, t := range r.idle {
		if t.Value() != nil {
			held[key] = t
		}
	}
	r.idle, r.swept = held, len(held)
}

// keep makes a track known again that was forgotten while somebody held it.
func (r *Relay) keep(t *track) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := t.name.String()
	r.tracks[key] = t
	delete(r.idle, key)
}

// forget drops the tracks that have no objects, that nobody wants and that no upstream tells of: names are easily invented, so
// they must not cost memory for ever. Relay.mu is held.
func (r *Relay) forget(now time.Time, told map[*track]bool) {
	for key, t := range r.tracks {
		if !told[t] && r.demands[t] == nil && t.unused(now) {
			r.drop(key, t)
		}
	}
	r.sweep()
}

// forgetAfter is how long a track must have been unused to be forgotten.
const forgetAfter = 2 * time.Minute

// lookup returns a track that has or had a publisher, or that the store holds; else nil.
func (r *Relay) lookup(name object.TrackName) *track {
	r.mu.Lock()
	t := r.held(name.String())
	r.mu.Unlock()
	if t != nil && t.Exists() {
		return t
	}
	if r.store.Lookup(name) == nil {
		return nil
	}
	return r.track(name)
}
