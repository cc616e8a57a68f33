package relay

import (
	"context"

	"every.channel/ec/lib/object"
)

// A publisher may be told that its PUBLISH is accepted, and tell a subscriber so, before the track has the publisher as a source.
// Who asks for the track in that moment waits, and is not told that there is none.

// arriving counts the publishers of a track that are being accepted. Relay.mu guards it.
type arriving struct {
	n    int
	here chan struct{} // closed when all are sources, or were given up
}

// arrives notes a publisher that is being accepted, until here is called.
func (r *Relay) arrives(name object.TrackName) (here func()) {
	key := name.String()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.arriving[key]
	if a == nil {
		a = &arriving{here: make(chan struct{})}
		r.arriving[key] = a
	}
	a.n++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if a.n--; a.n == 0 {
			delete(r.arriving, key)
			close(a.here)
		}
	}
}

// awaitArriving waits for the publishers of a track that are being accepted, if there are any and the track has no other.
func (r *Relay) awaitArriving(ctx context.Context, name object.TrackName) {
	r.mu.Lock()
	a := r.arriving[name.String()]
	r.mu.Unlock()
	if a == nil {
		return
	}
	if t := r.lookup(name); t != nil && t.Live() {
		return
	}
	select {
	case <-a.here:
	case <-ctx.Done():
	}
}
