package pace

import (
	"context"
	"sync"
)

// queue holds spans between the input and the output, of room bytes at most and two spans at least.
type queue struct {
	room int64

	mu     sync.Mutex // guards what follows
	list   []*span
	held   int64 // bytes of those in the list, and of those that were given and not taken back
	err    error // behind the last span
	change chan struct{}
}

func newQueue(room int64) *queue { return &queue{room: room, change: make(chan struct{})} }

// wake wakes up those that wait; mu is held.
func (q *queue) wake() {
	close(q.change)
	q.change = make(chan struct{})
}

// put adds a span, waits for room behind it, and tells whether it had to.
func (q *queue) put(ctx context.Context, s *span) (waited bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	q.mu.Lock()
	q.list = append(q.list, s)
	q.held += s.size
	q.wake()
	for q.held > q.room && len(q.list) > 2 {
		change := q.change
		q.mu.Unlock()
		waited = true
		select {
		case <-change:
		case <-ctx.Done():
			return waited, context.Cause(ctx)
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
	return waited, nil
}

// end says that no span follows, and why: io.EOF at the end of the input.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.wake()
}

// get takes the next span, and waits for it.
func (q *queue) get(ctx context.Context) (*span, error) {
	for {
		s, change, err := q.try()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try takes the next span if there is one; the channel is closed when that may have changed.
func (q *queue) try() (*span, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return nil, q.change, q.err
	}
	s := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return s, nil, nil
}

// took gives back the room of a span that was sent.
func (q *queue) took(s *span) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held -= s.size
	q.wake()
}

// empty tells whether nothing waits.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list) == 0
}
