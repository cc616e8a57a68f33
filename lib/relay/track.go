package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// track is a track as the relay sees it: what package live has of it, its files, what upstreams said of it, and who reads it.
type track struct {
	*live.Track
	r    *Relay
	name object.TrackName
	st   *store.Track

	answers answers       // of upstreams
	doubts  answers       // what none of them knew a moment ago
	filling chan struct{} // holds a token while somebody fills the live edge

	subs       readers
	publishers publishers
	banned     atomic.Pointer[ban] // why nothing of it is taken or served; nil: it may be

	idle   time.Time // since when there was nothing of it, at the last looks; Relay.mu guards it and the next
	asking int       // how many ask others for it at the moment
}

func newTrack(r *Relay, name object.TrackName) *track {
	st := r.store.Track(name)
	t := &track{Track: r.live.Track(name, st), r: r, name: name, st: st, filling: make(chan struct{}, 1)}
	t.banned.Store(r.ban(name))
	return t
}

// unused reports whether there is nothing of a track, and has not been for a while. Relay.mu is held.
func (t *track) unused(now time.Time) bool {
	if t.asking > 0 || t.subs.count() > 0 || !t.Empty() {
		t.idle = time.Time{}
		return false
	}
	if t.idle.IsZero() {
		t.idle = now
	}
	return now.Sub(t.idle) >= forgetAfter
}

// readers are the subscribers of a track.
type readers struct {
	mu  sync.Mutex
	all map[*subscriber]struct{}
}

func (r *readers) add(s *subscriber) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[*subscriber]struct{})
	}
	r.all[s] = struct{}{}
}

func (r *readers) remove(s *subscriber) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
}

// has reports whether one of them is the peer of a session.
func (r *readers) has(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for sub := range r.all {
		if sub.by == s {
			return true
		}
	}
	return false
}

func (r *readers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// ways are the relays through which they came, a list for each, in no order.
func (r *readers) ways() (ways [][]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.all {
		ways = append(ways, s.through)
	}
	return ways
}

// wanted reports whether a track has subscribers.
func (t *track) wanted() bool { return t.subs.count() > 0 }

// namingOf says what the group ids of a broadcast's tracks stand for; nil for other tracks.
func namingOf(name object.TrackName) live.Naming {
	if n, ok := catalog.NamingOf(name); ok {
		return n
	}
	return nil
}
