package moqt

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// requestTable knows the requests of a session: which ids were used (§9.1), and which requests are open.
type requestTable struct {
	// mu guards what follows, and the fields of requests that say so. request.mu and Subscription.mu are taken under it.
	mu    sync.Mutex
	open  map[uint64]*request     // by request id, of both sides
	fills map[uint64]*FetchReader // of this side whose stream has not come, by the id of the update that asked for them
	next  uint64                  // own next request id
	// Of the peer: the smallest id above all seen, and those below it not seen yet, because they travel on other streams.
	peer    uint64
	skipped map[uint64]struct{}
	lossy   bool   // each request has a stream, so any may be overtaken and some never come
	given   uint64 // next id for a request of the peer that is renumbered
	turns   uint64 // how many SUBSCRIBE the peer sent
	news    chan struct{}
}

// maxSkipped bounds request ids that were overtaken. Only SUBSCRIBE_NAMESPACE, on streams of their own, can be.
const maxSkipped = 256

// maxSkippedStreams bounds them where each request has its own stream. Those of streams that were cancelled before they were
// read never come, so the oldest are forgotten.
const maxSkippedStreams = 8192

// newRequestTable makes that of a client or server.
func newRequestTable(client, lossy bool) *requestTable {
	t := &requestTable{open: map[uint64]*request{}, fills: map[uint64]*FetchReader{}, skipped: map[uint64]struct{}{}, lossy: lossy}
	if client {
		t.peer = 1
	} else {
		t.next = 1
	}
	t.given = t.peer
	return t
}

// nextID takes an id for a request or update of this side.
func (t *requestTable) nextID() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.next
	t.next += 2
	return id
}

// following is the id that the next request of this side, or of the peer, has if nothing is skipped.
func (t *requestTable) following() (own, peer uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next, t.peer
}

// add makes a request with an id of its own one of the open ones.
func (t *requestTable) add(r *request) {
	t.mu.Lock()
	t.open[r.id] = r
	t.mu.Unlock()
}

// remove takes it out.
func (t *requestTable) remove(r *request) {
	t.mu.Lock()
	if t.open[r.id] == r {
		delete(t.open, r.id)
	}
	t.tell()
	t.mu.Unlock()
}

// get finds an open request; nil: there is none.
func (t *requestTable) get(id uint64) *request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[id]
}

// all lists the open requests.
func (t *requestTable) all() (list []*request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.open {
		list = append(list, r)
	}
	return list
}

// renumber takes an id for a request of the peer that gave it a wrong one.
func (t *requestTable) renumber() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.given
	t.given += 2
	return id
}

// admit takes the id of a request or update of the peer, which must be below a limit. opens: it is one that is open from now on; with
// updates it is an update of one that is.
func (t *requestTable) admit(id, limit uint64, opens, updates *request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.check(id, limit); err != nil {
		return err
	}
	if opens != nil {
		t.open[id] = opens
	}
	if updates != nil {
		updates.updating++
	}
	t.tell()
	return nil
}

// updated ends what admit began with an update.
func (t *requestTable) updated(r *request) {
	t.mu.Lock()
	r.updating--
	t.tell()
	t.mu.Unlock()
}

func (t *requestTable) check(id, limit uint64) error {
	bad := func(why string) error {
		return &wire.Error{Code: wire.InvalidRequestID, What: fmt.Sprintf("request id %d: %s", id, why)}
	}
	if id&1 != t.peer&1 {
		return bad("belongs to this side")
	}
	if id >= limit {
		return &wire.Error{Code: wire.TooManyRequests, What: fmt.Sprintf("request id %d, maximum %d", id, limit)}
	}
	if id < t.peer {
		if _, ok := t.skipped[id]; !ok {
			return bad("used before")
		}
		delete(t.skipped, id)
		return nil
	}
	switch gap := (id - t.peer) / 2; {
	case !t.lossy && gap+uint64(len(t.skipped)) > maxSkipped, gap > maxSkippedStreams:
		return bad("not next in sequence")
	case gap+uint64(len(t.skipped)) > maxSkippedStreams:
		for old := range t.skipped {
			if id-old > maxSkippedStreams {
				delete(t.skipped, old)
			}
		}
	}
	for ; t.peer < id; t.peer += 2 {
		t.skipped[t.peer] = struct{}{}
	}
	t.peer = id + 2
	return nil
}

// heard is closed at the next request of the peer that comes, is answered, updated or done with; mu is held.
func (t *requestTable) heard() <-chan struct{} {
	if t.news == nil {
		t.news = make(chan struct{})
	}
	return t.news
}

// tell wakes who waits for that; mu is held.
func (t *requestTable) tell() {
	if t.news != nil {
		close(t.news)
		t.news = nil
	}
}

// answered tells those who wait that an own request was answered.
func (t *requestTable) answered() {
	t.mu.Lock()
	t.tell()
	t.mu.Unlock()
}

// subscribes says which track a SUBSCRIBE of the peer is for.
func (t *requestTable) subscribes(r *request, track string) {
	t.mu.Lock()
	t.turns++
	r.track, r.turn = track, t.turns
	t.mu.Unlock()
}

// otherSubscription gives the context of a subscription to r's track that came before it and stands in its way, or nil; theirs: the
// peer began it.
func (t *requestTable) otherSubscription(r *request) (other context.Context, theirs bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.open {
		switch {
		case o == r || o.track != r.track || o.ctx.Err() != nil:
		case o.own && o.typ == typePublish:
			return o.ctx, false
		case !o.own && o.typ == typeSubscribe && o.turn < r.turn:
			other, theirs = o.ctx, true
		}
	}
	return other, theirs
}

// subscribed reports a subscription of this side to a track that is established and not about to end, and stands in the way of another.
func (t *requestTable) subscribed(track string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.open {
		if sub, is := r.ownedBy().(*Subscription); is && sub.track.String() == track && sub.live() {
			return true
		}
	}
	return false
}

// shapesOf is how the peer wants a track that is published to it because it asked for tracks.
func (t *requestTable) shapesOf(track object.TrackName) (p wire.Parameters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.open {
		if r.own || r.typ != typeSubscribeTracks || r.claimed == nil || !track.Namespace.HasPrefix(r.claimed) {
			continue
		}
		s := r.shapes
		return wire.Parameters{
			Forward: s.Forward, DeliveryTimeout: s.DeliveryTimeout, SubgroupDeliveryTimeout: s.SubgroupDeliveryTimeout, SubscriberPriority: s.SubscriberPriority,
			GroupOrder: s.GroupOrder, SubscriptionFilter: s.SubscriptionFilter, Fill: s.Fill, RangeFilters: s.RangeFilters, IncludeProperties: s.IncludeProperties,
		}
	}
	return p
}

// reshape applies an update of how the peer wants tracks that it asked for: those that are published from now on.
func (t *requestTable) reshape(r *request, p wire.Parameters) *RequestError {
	t.mu.Lock()
	defer t.mu.Unlock()
	filters := wire.ReplaceRangeFilters(r.shapes.RangeFilters, p.RangeFilters)
	if _, refusal := r.s.readFilters(filters); refusal != nil {
		return refusal
	}
	s := &r.shapes
	s.RangeFilters, s.Forward, s.SubscriptionFilter = filters, or(p.Forward, s.Forward), or(p.SubscriptionFilter, s.SubscriptionFilter)
	s.SubscriberPriority, s.SubgroupDeliveryTimeout = or(p.SubscriberPriority, s.SubscriberPriority), or(p.SubgroupDeliveryTimeout, s.SubgroupDeliveryTimeout)
	if p.DeliveryTimeout > 0 || p.NoDeliveryTimeout {
		s.DeliveryTimeout = p.DeliveryTimeout
	}
	return nil
}

// claim takes a prefix for a namespace subscription of the peer, in place of the one it has. It refuses one that overlaps another of its
// kind (§9.25).
func (t *requestTable) claim(r *request, prefix object.Namespace) *RequestError {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.open {
		p := o.claimed
		if o == r || o.typ != r.typ || p == nil || o.ctx.Err() != nil {
			continue
		}
		n := min(len(p), len(prefix))
		if slices.Equal(p[:n], prefix[:n]) {
			return &RequestError{Code: wire.RequestPrefixOverlap, Reason: "overlaps " + p.String()}
		}
	}
	r.claimed = append(object.Namespace{}, prefix...)
	return nil
}
