package relay

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// session is the session with one peer, which may publish, subscribe, or both.
type session struct {
	r    *Relay
	s    *moqt.Session
	name string        // for logs: its address
	up   *upstream     // the upstream at the other end, if it is one
	ask  *keep.Session // for an upstream: makes requests, and follows them to where the upstream sends them

	since  time.Time // when it began
	reader bool      // the peer may not publish
	inside bool      // the peer is this relay's own HTTP server
	access access    // what the peer may do

	weight int64 // payload in memory of what it publishes, as it counts for peer; Relay.weigh owns it while the session lasts

	peer *limits.Peer // what it may use up, once it is set up; nil: as much as it wants, as one that this relay dialed

	whose     sync.Once // guards who and host, which home finds out
	who, host string

	ingest   *semaphore.Weighted // bounds the bytes of payloads on their way in
	listings atomic.Int32        // open requests for namespaces or tracks
	pushing  atomic.Int32        // tracks that the peer is sent because it asked for all below a prefix
	claims   sync.WaitGroup      // counts the tracks in claimed, the session's use as an upstream, and functions in the background

	mu      sync.Mutex
	over    bool                        // the session has ended: nothing may be claimed any more
	adopted bool                        // the session is an upstream too
	claimed map[*track]*claim           // tracks to which this relay has subscribed at this peer, or is about to
	turned  map[string]object.TrackName // tracks that the peer published or offered, and that may not be taken
}

// claim reserves the one subscription that a session may have to a track.
type claim struct {
	asked   chan struct{} // closed when the peer answered our SUBSCRIBE; nil if the peer sent PUBLISH
	crossed bool          // the peer sent PUBLISH while our SUBSCRIBE was on its way
}

// claim reserves the subscription to a track, and returns false if it is reserved already. asking says that SUBSCRIBE is to be
// sent.
func (s *session) claim(t *track, asking bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed[t] != nil || s.over {
		return false
	}
	if s.claimed == nil {
		s.claimed = make(map[*track]*claim)
	}
	c := new(claim)
	if asking {
		c.asked = make(chan struct{})
	}
	s.claimed[t] = c
	s.claims.Add(1)
	return true
}

func (s *session) isAdopted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.adopted
}

// answered notes that the peer accepted our SUBSCRIBE.
func (s *session) answered(t *track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.claimed[t]
	close(c.asked)
	c.asked = nil
}

// unclaim gives the reservation back. It reports whether a PUBLISH of the peer waits for that.
func (s *session) unclaim(t *track) (crossed bool) {
	s.mu.Lock()
	c := s.claimed[t]
	delete(s.claimed, t)
	if c.asked != nil {
		close(c.asked)
	}
	s.mu.Unlock()
	s.claims.Done()
	return c.crossed
}

// claimPublished reserves the subscription to a track for which the peer has sent PUBLISH. If our SUBSCRIBE is on its way, the
// two messages have crossed: the publisher must refuse the SUBSCRIBE, and only then may the PUBLISH be accepted (§5.1).
func (s *session) claimPublished(ctx context.Context, t *track) bool {
	for !s.claim(t, false) {
		s.mu.Lock()
		c := s.claimed[t]
		var asked chan struct{}
		if c != nil {
			asked, c.crossed = c.asked, true
		}
		over := s.over
		s.mu.Unlock()
		switch {
		case over || c != nil && asked == nil:
			return false
		case c == nil:
			continue
		}
		select {
		case <-asked:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// background runs a function that ends when the session does, at the latest. It returns false if the session has ended.
func (s *session) background(run func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.claims.Go(run)
	return true
}

// end waits for everything that the session started outside of its handlers.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.claims.Wait()
}

// leave tells the peer to go away, and waits until it has gone or patience is over.
func (s *session) leave(patience time.Duration) {
	ctx, cancel := context.WithTimeout(s.s.Context(), patience)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.s.GoAway("")
	}()
	<-ctx.Done()
	s.s.Close(wire.NoError, "going away")
	<-done
}

// named returns the track that a peer means. In draft 18 a name may have no namespace: then the namespace is the path of the URL
// that the peer dialed, so that moqt://host/live/cam is live-cam.
func (s *session) named(n object.TrackName) object.TrackName {
	if len(n.Namespace) > 0 {
		return n
	}
	peer, err := s.s.Peer(s.s.Context())
	if err != nil {
		return n
	}
	path, _, _ := strings.Cut(peer.Path, "?")
	n.Namespace = strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
	if wire.CheckNamespace(n.Namespace, 1) != nil {
		n.Namespace = nil
	}
	return n
}

// readersOnly is the reason that is given to sessions which may not publish and try to.
const readersOnly = "who comes by HTTP may read and not publish"

// Publish takes a track from the peer.
func (s *session) Publish(ctx context.Context, r *moqt.PublishRequest) {
	name := s.named(r.Track)
	if len(name.Namespace) == 0 {
		r.Reject(wire.RequestUninterested, "a track without a namespace")
		return
	}
	if s.r.lookup(name) == nil { // a name that is new here stays for as long as something of it is stored
		if err := s.peer.Spend(limits.Names, 1); err != nil {
			r.Reject(wire.RequestExcessiveLoad, err.Error())
			return
		}
	}
	t := s.r.track(name)
	if !s.claimPublished(ctx, t) {
		r.Reject(wire.RequestDuplicateSubscription, "subscribed already")
		return
	}
	defer s.unclaim(t)
	here := s.r.arrives(name)
	sub, err := r.Accept(moqt.SubscribeOptions{NoForward: !r.Forward}) // a publisher that would not send yet is asked when it is needed
	if err != nil {
		here()
		return
	}
	src := s.attach(t, sub, !r.Forward)
	here()
	src.run(ctx)
}

// Subscribe serves a track to the peer.
func (s *session) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	name, through := s.named(r.Track), hopsOf(r.Tokens)
	found, ok := s.inquires(name, r.Reject)
	if !ok {
		return
	}
	here := s.r.expect(name, through)
	defer here()
	had, live := s.r.largest(name)
	t := s.r.find(ctx, name, through)
	found(t)
	if t == nil && r.Rendezvous > 0 {
		if t = s.rendezvous(ctx, name, through, min(r.Rendezvous, maxRendezvous)); t == nil {
			r.Reject(wire.RequestTimeout, "nobody has published it yet")
			return
		}
	}
	if t == nil {
		r.Reject(wire.RequestDoesNotExist, "nobody publishes it and nothing is stored")
		return
	}
	born := t.Born() // this is read first: groups that come after it are for the subscriber
	info := t.Info()
	if !live {
		// The upstream sends the track because of this subscriber, so objects that came meanwhile are for the subscriber, too.
		info.Largest = t.LargestBefore(had)
	}
	info.Current = func() *moqt.Location { return t.Info().Largest }
	pub, err := r.Accept(info)
	if err != nil {
		return
	}
	s.r.keep(t)
	sub := newSubscriber(t, s, pub, info.Largest, born)
	sub.through, sub.here = through, here
	if len(r.Track.Namespace) == 0 && r.State.Filter.Type == wire.FilterNone && info.Largest != nil {
		// A client that has only a path does not use FETCH either, and the one object of a catalog may have been published long
		// ago.
		sub.floor = startOf(info.Largest.Group)
	}
	if info.Largest != nil && sub.floor.Less(next(*info.Largest)) && s.r.chained() {
		s.r.fill(pub.Context(), t, span{sub.floor, startOf(info.Largest.Group + 1)}, through, s)
	}
	if s.r.c.Lenient && info.Largest != nil && *info.Largest == (moqt.Location{}) && sub.floor == next(moqt.Location{}) {
		sub.floor = moqt.Location{}
	}
	sub.run(pub.Context())
	if s.r.chained() {
		s.r.namespacesChanged() // links that nobody needs any more may be left
	}
}

// largest returns the largest location of a track, and whether somebody sends the track.
func (r *Relay) largest(name object.TrackName) (l *moqt.Location, live bool) {
	if t := r.lookup(name); t != nil {
		return t.Info().Largest, t.Live()
	}
	return nil, false
}

// maxRendezvous bounds how long a SUBSCRIBE is held for a publisher.
const maxRendezvous = time.Minute

// find returns the track if it is here, or can be had from a peer that announced its namespace or from an upstream; otherwise
// nil.
func (r *Relay) find(ctx context.Context, name object.TrackName, through []string) *track {
	r.awaitArriving(ctx, name)
	t := r.lookup(name)
	if (t == nil || !t.Live()) && len(r.announcing(name.Namespace)) > 0 {
		// A peer announced the namespace without publishing the track.
		up, over := r.asked(name)
		if r.subscribeAnnounced(ctx, up) {
			t = up
		}
		over()
	}
	if r.chained() && (t == nil || !t.Sends(time.Now())) {
		t = r.pull(ctx, name, through)
	}
	return t
}

// rendezvous waits for somebody to publish the track (draft-18 §10.2.6). It returns nil if nobody did.
func (s *session) rendezvous(ctx context.Context, name object.TrackName, through []string, patience time.Duration) *track {
	r := s.r
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wake, unlisten := r.listen()
	defer unlisten()
	for {
		if t := r.find(ctx, name, through); t != nil {
			return t
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
		if s.peer.Wait(ctx, limits.Names, 1, nil) != nil {
			return nil
		}
	}
}

// TrackStatus answers with what SUBSCRIBE_OK would say.
func (s *session) TrackStatus(ctx context.Context, r *moqt.TrackStatusRequest) {
	name := s.named(r.Track)
	found, ok := s.inquires(name, r.Reject)
	if !ok {
		return
	}
	t, untold := s.r.known(ctx, name, hopsOf(r.Tokens))
	found(t)
	switch {
	case t != nil:
		r.Accept(t.Info())
	case untold || s.untold(ctx, name):
		r.Reject(wire.RequestNotSupported, "who has it does not tell") // a subscription does
	default:
		r.Reject(wire.RequestDoesNotExist, "nobody publishes it and nothing is stored")
	}
}

// untold reports whether another peer announced a namespace of this track and does not answer TRACK_STATUS.
func (s *session) untold(ctx context.Context, name object.TrackName) bool {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	var asked sync.WaitGroup
	var untold atomic.Bool
	for _, other := range s.r.announcing(name.Namespace) {
		if other == s {
			continue
		}
		asked.Go(func() {
			_, err := other.s.TrackStatus(ctx, name)
			if refusal, ok := errors.AsType[*moqt.RequestError](err); ok && refusal.Code == wire.RequestNotSupported {
				untold.Store(true)
			}
		})
	}
	asked.Wait()
	return untold.Load()
}

// PublishNamespace notes that the peer has tracks below a namespace.
func (s *session) PublishNamespace(ctx context.Context, r *moqt.PublishNamespaceRequest) {
	a := &announcement{s: s, ns: r.Namespace}
	s.r.mu.Lock()
	s.r.announced[a] = struct{}{}
	var waiting []*track
	for _, t := range s.r.tracks {
		if t.name.Namespace.HasPrefix(a.ns) && t.wanted() {
			waiting = append(waiting, t)
		}
	}
	s.r.mu.Unlock()
	defer func() {
		s.r.mu.Lock()
		delete(s.r.announced, a)
		s.r.mu.Unlock()
		s.r.namespacesChanged()
	}()
	if err := r.Accept(); err != nil {
		return
	}
	s.r.log.Info("namespace", "namespace", a.ns.String(), "source", s.name)
	s.r.namespacesChanged()
	for _, t := range waiting { // these tracks have subscribers and have lost their publisher
		s.r.subscribeAnnounced(ctx, t)
	}
	<-ctx.Done()
}
