// Package relaytest is a relay for tests of clients: it keeps objects in memory, serves them live and by FETCH, and
// misbehaves on request. It is not a server for anything else.
package relaytest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Relay is one relay on the loopback. Its hooks are set before the first client comes.
type Relay struct {
	// Refuse, if set, refuses PUBLISH, SUBSCRIBE, FETCH or the fill of a subscription ("publish", "subscribe", "fetch", "fill").
	Refuse func(verb string, t object.TrackName) (wire.RequestCode, bool)
	// Redirect, if set, sends requests elsewhere ("publish", "subscribe", "fetch", "status", and "announce" and "list" of a
	// namespace); PUBLISH knows no such answer in the draft, but is sent on all the same.
	Redirect func(verb string, t object.TrackName) *moqt.Redirect
	// Silent, if set, gives a FETCH that begins there no answer.
	Silent func(start moqt.Location) bool
	// Lose, if set, forgets objects on arrival, and does not know whether they exist.
	Lose func(t object.TrackName, o *object.Object) bool
	// Skip, if set, keeps objects from subscribers, not from FETCH.
	Skip func(t object.TrackName, o *object.Object) bool
	// Break, if set, resets the stream of a subscriber in the middle of an object; the rest of the group is left to FETCH.
	Break func(t object.TrackName, o *object.Object) bool
	// Tells makes it stop the stream of a group of which it holds another one.
	Tells bool
	// Implementation is what it calls itself, from the next Start on.
	Implementation string
	// Wants, if set, makes a relay that answers PUBLISH with NOT_SUPPORTED and subscribes to these tracks.
	Wants []object.TrackName
	// Rests leaves tracks that are offered with FORWARD 0 without objects, until Forward asks for them.
	Rests bool
	// Asks, if set, makes it fetch the first object of these of every publisher, until it gets it, and do nothing with it: a relay asks for
	// a list of groups so.
	Asks []object.TrackName

	t    testing.TB
	cert tls.Certificate
	addr string

	mu        sync.Mutex
	cond      *sync.Cond
	tracks    map[string]*Track
	spaces    []object.Namespace
	listener  *moqt.Listener
	stop      context.CancelFunc
	wait      sync.WaitGroup
	sessions  int
	elsewhere string
	requests  map[request]string // open ones, of which GoAway can be told
}

// request is one of a client.
type request interface {
	GoAway(uri string, patience time.Duration) error
}

// Track is what the relay has of a track, in order of arrival.
type Track struct {
	Name       object.TrackName
	Properties []byte
	log        []object.Object
	seen       map[moqt.Location]object.Hash
	Again      int // objects that came a second time with equal hash
	Conflicts  int // or with another
	publishers int
	ended      bool
}

// New starts a relay that is stopped with the test.
func New(t testing.TB) *Relay {
	t.Helper()
	cert, err := moqt.SelfSigned(time.Now(), "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{t: t, cert: cert, addr: loopback.Address(t), Implementation: "relaytest", tracks: map[string]*Track{}}
	r.cond = sync.NewCond(&r.mu)
	r.Start()
	t.Cleanup(r.Stop)
	return r
}

// URL is the relay's address. Hooks that were set before are there for whoever comes after: a session takes the same lock first.
func (r *Relay) URL() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return "moqt://" + r.addr
}

// TLS trusts the relay.
func (r *Relay) TLS() *tls.Config {
	conf, err := moqt.PinFingerprint(moqt.Fingerprint(r.cert))
	if err != nil {
		r.t.Fatal(err)
	}
	return conf
}

// Fingerprint is what clients pin.
func (r *Relay) Fingerprint() string { return moqt.Fingerprint(r.cert) }

// Start listens again after Stop, on the same port, with the objects it had.
func (r *Relay) Start() {
	l, err := moqt.Listen(r.addr, moqt.ServerTLS(r.cert), &moqt.Config{Handler: handler{r}, Implementation: r.Implementation})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.addr, r.listener, r.stop = l.Addr().String(), l, cancel
	r.wait.Go(func() {
		for {
			s, err := l.Accept(ctx)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.sessions++
			elsewhere := r.elsewhere
			r.mu.Unlock()
			r.wait.Go(func() { s.Run(ctx) })
			if elsewhere != "" {
				r.wait.Go(func() {
					if _, err := s.Peer(ctx); err == nil {
						s.GoAway(elsewhere)
					}
				})
			}
			for _, t := range r.Wants {
				r.wait.Go(func() { r.pull(ctx, s, t) })
			}
			for _, t := range r.Asks {
				r.wait.Go(func() { ask(ctx, s, t) })
			}
		}
	})
}

// Stop ends all sessions and listens no longer.
func (r *Relay) Stop() {
	r.mu.Lock()
	l := r.listener
	r.listener = nil
	r.mu.Unlock()
	if l == nil {
		return
	}
	r.stop()
	r.wait.Wait() // sessions say goodbye while there is a socket
	l.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tracks {
		t.publishers = 0
	}
}

// Leave sends every client that comes from now on to another relay.
func (r *Relay) Leave(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.elsewhere = to
}

// GoAway asks clients to make their requests for a track or namespace, by its written form, elsewhere; it reports how many were asked.
func (r *Relay) GoAway(name, uri string, patience time.Duration) (n int) {
	r.mu.Lock()
	var list []request
	for q, of := range r.requests {
		if of == name {
			list = append(list, q)
		}
	}
	r.mu.Unlock()
	for _, q := range list {
		if q.GoAway(uri, patience) == nil {
			n++
		}
	}
	return n
}

// Forward sets the Forward State of the subscriptions to a track, by its written form; it reports how many there are.
func (r *Relay) Forward(ctx context.Context, name string, on bool) (n int) {
	r.mu.Lock()
	var list []*moqt.Subscription
	for q, of := range r.requests {
		if sub, ok := q.(*moqt.Subscription); ok && of == name {
			list = append(list, sub)
		}
	}
	r.mu.Unlock()
	for _, sub := range list {
		if err := sub.Update(ctx, moqt.UpdateOptions{Forward: &on}); err != nil {
			r.t.Error(err)
		}
	}
	return len(list)
}

// Requests counts the open requests for a track or namespace.
func (r *Relay) Requests(name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range r.requests {
		if of == name {
			n++
		}
	}
	return n
}

// keep remembers an open request until ctx ends.
func (r *Relay) keep(ctx context.Context, name string, q request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requests == nil {
		r.requests = map[request]string{}
	}
	r.requests[q] = name
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.requests, q)
	})
}

// Sessions is how many there were.
func (r *Relay) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions
}

// Put adds objects as a publisher would.
func (r *Relay) Put(t object.TrackName, objects ...object.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tr := r.track(t)
	for _, o := range objects {
		r.add(tr, o)
	}
}

// Forget removes the groups of a track before one, as retention does. The track must not have subscribers.
func (r *Relay) Forget(t object.TrackName, before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tr := r.track(t)
	tr.log = slices.DeleteFunc(tr.log, func(o object.Object) bool { return o.Group < before })
}

// End ends a track for its subscribers.
func (r *Relay) End(t object.TrackName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.track(t).ended = true
	r.cond.Broadcast()
}

// Announce adds a namespace to the list.
func (r *Relay) Announce(ns object.Namespace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announce(ns)
}

func (r *Relay) announce(ns object.Namespace) {
	if !slices.ContainsFunc(r.spaces, ns.Equal) {
		r.spaces = append(r.spaces, ns)
	}
}

// Await waits until ready holds for a track; it is called with the lock held.
func (r *Relay) Await(t object.TrackName, ready func(*Track) bool) {
	r.t.Helper()
	timeout := time.AfterFunc(20*time.Second, func() { r.mu.Lock(); defer r.mu.Unlock(); r.cond.Broadcast() })
	defer timeout.Stop()
	deadline := time.Now().Add(19 * time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ready(r.track(t)) {
		if time.Now().After(deadline) {
			r.t.Fatalf("relay waited in vain for %v", t)
		}
		r.cond.Wait()
	}
}

// Objects are those of a track in order of location, ends of groups included.
func (r *Relay) Objects(t object.TrackName) []object.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.track(t).sorted()
}

// Len is how many objects the track has; for Await.
func (t *Track) Len() int { return len(t.log) }

// Has reports whether an object has come; for Await.
func (t *Track) Has(l moqt.Location) bool { _, ok := t.seen[l]; return ok }

func (t *Track) sorted() []object.Object {
	list := slices.Clone(t.log)
	slices.SortStableFunc(list, func(a, b object.Object) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (t *Track) largest() (l *moqt.Location) {
	for _, o := range t.log {
		if at := (moqt.Location{Group: o.Group, Object: o.ID}); o.Status == object.Normal && (l == nil || l.Less(at)) {
			l = &at
		}
	}
	return l
}

func (r *Relay) track(t object.TrackName) *Track {
	key := t.String()
	if r.tracks[key] == nil {
		r.tracks[key] = &Track{Name: t, seen: map[moqt.Location]object.Hash{}}
	}
	return r.tracks[key]
}

func (r *Relay) add(t *Track, o object.Object) {
	defer r.cond.Broadcast()
	at := moqt.Location{Group: o.Group, Object: o.ID}
	sum := object.Sum(append([]byte{byte(o.Status)}, o.Payload...))
	if had, ok := t.seen[at]; ok {
		if had == sum {
			t.Again++
		} else {
			t.Conflicts++
		}
		return
	}
	if r.Lose != nil && r.Lose(t.Name, &o) {
		return
	}
	t.seen[at] = sum
	t.log = append(t.log, o)
	r.announce(t.Name.Namespace)
}

// pull subscribes to a publisher's track, trying until it is there.
func (r *Relay) pull(ctx context.Context, s *moqt.Session, t object.TrackName) {
	for ctx.Err() == nil && s.Context().Err() == nil {
		sub, err := s.Subscribe(ctx, t, moqt.SubscribeOptions{})
		if err == nil {
			r.receive(ctx, sub)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// receive stores what a publisher sends.
func (r *Relay) receive(ctx context.Context, sub *moqt.Subscription) {
	r.mu.Lock()
	t := r.track(sub.Track())
	t.Properties = sub.Info().Properties
	t.publishers++
	r.mu.Unlock()
	var streams sync.WaitGroup
	for {
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			break
		}
		streams.Go(func() {
			end := uint64(0)
			for {
				h, err := g.Next()
				if errors.Is(err, io.EOF) {
					if g.Header().EndOfGroup && end > 0 {
						r.mu.Lock()
						r.add(t, object.Object{Group: g.Header().Group, ID: end, Status: object.EndOfGroup})
						r.mu.Unlock()
					}
					return
				}
				if err != nil {
					return
				}
				o := object.Object{Group: g.Header().Group, Subgroup: g.Header().Subgroup, ID: h.ID, Priority: g.Priority(),
					Status: object.Status(h.Status), Properties: slices.Clone(h.Properties), Payload: make([]byte, h.Size)}
				if _, err := io.ReadFull(g, o.Payload); err != nil {
					return
				}
				end = h.ID + 1
				r.mu.Lock()
				before := t.Conflicts
				r.add(t, o)
				conflict := t.Conflicts > before
				r.mu.Unlock()
				if conflict && r.Tells {
					g.Cancel(wire.ResetMalformedTrack)
					return
				}
			}
		})
	}
	streams.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.publishers--
	r.cond.Broadcast()
}

// ask fetches the first object of a track of a publisher, trying until it is there.
func ask(ctx context.Context, s *moqt.Session, t object.TrackName) {
	for ctx.Err() == nil && s.Context().Err() == nil {
		f, err := s.Fetch(ctx, t, moqt.Location{}, moqt.Location{Object: 1}, moqt.FetchOptions{})
		if err == nil {
			_, err = f.Next()
			f.Cancel()
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
