package moqt

import (
	"math"
	"sync"
)

// credit is how many requests each side of a session in draft 16 may make (§9.5): ids must stay below a limit that the other side
// raises with MAX_REQUEST_ID. A request costs two ids, as those of the sides alternate.
type credit struct {
	mu      sync.Mutex    // guards what follows; no other lock is taken under it
	limit   uint64        // the peer's MAX_REQUEST_ID: own ids must stay below
	blocked uint64        // limit + 1 for which REQUESTS_BLOCKED was sent
	changed chan struct{} // closed and replaced when limit grows
	granted uint64        // what the peer may have
	told    uint64        // what it was told
	window  uint64        // requests
}

// newCredit lets the peer, whose first id is first, have as many requests as window open.
func newCredit(first, window uint64) *credit {
	granted := first + 2*window
	return &credit{changed: make(chan struct{}), granted: granted, told: granted, window: window}
}

// covers reports whether an own request may have an id; else wait is closed when there is more credit.
func (c *credit) covers(id uint64) (ok bool, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id < c.limit, c.changed
}

// short reports, once for each limit, that this side has no credit left, and the limit.
func (c *credit) short() (limit uint64, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = c.blocked != c.limit+1
	c.blocked = c.limit + 1
	return c.limit, first
}

// raise takes a MAX_REQUEST_ID of the peer; false: it does not grow.
func (c *credit) raise(limit uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit <= c.limit {
		return false
	}
	c.limit = limit
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// bound is what ids of the peer must stay below.
func (c *credit) bound() uint64 {
	if c == nil {
		return math.MaxUint64
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// give grants the peer another request for one that ended; tell: half the window is not told of yet.
func (c *credit) give() (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted += 2
	return c.granted-c.told >= c.window // two ids a request: half the window
}

// grant is the MAX_REQUEST_ID to tell the peer; more: it is greater than what it knows.
func (c *credit) grant() (limit uint64, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	more = c.granted > c.told
	c.told = c.granted
	return c.granted, more
}
