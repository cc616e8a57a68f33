package relay

import (
	"slices"
	"sync"

	"every.channel/ec/lib/object"
)

// Before a SUBSCRIBE becomes a subscriber, upstreams are asked how far the track goes and for the part of the past that is
// missing, which may take minutes. Meanwhile the links for it must not be left for lack of subscribers. So the subscriber is
// expected from the request on until it is there.

// expected is a subscriber that is on its way.
type expected struct{ through []string } // the relays it comes through

// expect notes a subscriber that is on its way to a track, until it calls here.
func (r *Relay) expect(name object.TrackName, through []string) (here func()) {
	key, e := name.String(), &expected{through}
	r.mu.Lock()
	r.expected[key] = append(r.expected[key], e)
	if t := r.held(key); t != nil {
		t.Stir() // a standby may be needed
	}
	r.mu.Unlock()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.expected[key] = slices.DeleteFunc(r.expected[key], func(o *expected) bool { return o == e }); len(r.expected[key]) == 0 {
			delete(r.expected, key)
		}
	})
}

// wanted reports whether a track has subscribers, or is to have one.
func (r *Relay) wanted(t *track) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ways(t)) > 0
}

// ways are the relays through which the subscribers of a track came or come, a list for each, the shortest first. Relay.mu is held.
func (r *Relay) ways(t *track) [][]string {
	ways := t.subs.ways()
	for _, e := range r.expected[t.name.String()] {
		ways = append(ways, e.through)
	}
	slices.SortFunc(ways, func(a, b []string) int { return len(a) - len(b) })
	return ways
}
