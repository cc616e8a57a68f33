package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
)

// call is an update of this side.
type call struct {
	done chan struct{} // closed when it was answered
	err  error         // valid then
	gone bool          // nobody waits any more
}

// update sends a REQUEST_UPDATE for an own request, or for one of the peer's that it publishes, and waits for the answer.
func (r *request) update(ctx context.Context, p wire.Parameters) error {
	ctx, cancel := r.s.responseContext(ctx)
	defer cancel()
	m := &wire.RequestUpdate{ExistingRequestID: r.id, Parameters: p}
	c := &call{done: make(chan struct{})}
	err := r.s.carrier.number(ctx, func(id uint64) error {
		m.RequestID = id
		r.mu.Lock()
		over := r.over
		if !over {
			r.updates[id] = c
		}
		r.mu.Unlock()
		if over {
			return errRequestOver
		}
		return r.st.send(m)
	})
	if err != nil {
		r.mu.Lock()
		delete(r.updates, m.RequestID)
		r.mu.Unlock()
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-r.s.ctx.Done():
		return context.Cause(r.s.ctx)
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-c.done: // the answer came just now
		return c.err
	default:
		c.gone = true
		r.s.gaveUp(ctx, requestOf(m))
		return context.Cause(ctx)
	}
}

// takeAnswer takes the answer to an update of this side.
func (r *request) takeAnswer(id uint64, m wire.Message) error {
	var err error
	if e, no := m.(*wire.RequestError); no {
		err = requestError(e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.updates[id]
	if c == nil {
		if r.over {
			return nil // its answer was not waited for
		}
		return violation("%T for request %d, which awaits none", m, id)
	}
	delete(r.updates, id)
	r.answerUpdate(c, err)
	return nil
}

// answerUpdate ends an update of this side; mu is held.
func (r *request) answerUpdate(c *call, err error) {
	if !c.gone {
		r.s.count.request(sent, requestOf((*wire.RequestUpdate)(nil)), outcomeOf(err != nil))
	}
	c.err = err
	close(c.done)
}
