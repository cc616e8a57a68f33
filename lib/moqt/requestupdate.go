package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
)

// call is an update of this side.
type call struct {
	done chan struct{}   // closed when it was answered
	said wire.Parameters // of REQUEST_OK, valid then
	err  error           // likewise
	gone bool            // nobody waits any more
}

// update sends a REQUEST_UPDATE for an own request, or for one of the peer's that it publishes, and waits for the answer.
func (r *request) update(ctx context.Context, p wire.Parameters, sends func(id uint64)) (wire.Parameters, error) {
	ctx, cancel := r.s.responseContext(ctx)
	defer cancel()
	c, err := r.beginUpdate(ctx, p, sends)
	if err != nil {
		return wire.Parameters{}, err
	}
	return r.awaitUpdate(ctx, c)
}

// beginUpdate sends it; sends, unless nil, is told its id before that.
func (r *request) beginUpdate(ctx context.Context, p wire.Parameters, sends func(id uint64)) (*call, error) {
	if err := r.mayUpdate(ctx); err != nil {
		return nil, err
	}
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
		if sends != nil {
			sends(id)
		}
		return r.st.send(m)
	})
	if err != nil {
		r.mu.Lock()
		delete(r.updates, m.RequestID)
		r.mu.Unlock()
		r.updated()
		return nil, err
	}
	return c, nil
}

func (r *request) awaitUpdate(ctx context.Context, c *call) (wire.Parameters, error) {
	select {
	case <-c.done:
		return c.said, c.err
	case <-r.s.ctx.Done():
		return wire.Parameters{}, context.Cause(r.s.ctx)
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-c.done: // the answer came just now
		return c.said, c.err
	default:
		c.gone = true
		r.s.gaveUp(ctx, requestOf((*wire.RequestUpdate)(nil)))
		return wire.Parameters{}, context.Cause(ctx)
	}
}

// mayUpdate waits while the peer wants no more updates of the request without an answer (MAX_REQUEST_UPDATES, draft-19 §10.3.1.7).
// Each that was begun ends with updated.
func (r *request) mayUpdate(ctx context.Context) error {
	most := r.s.peer.MaxRequestUpdates
	if most == 0 {
		return nil
	}
	r.mu.Lock()
	if r.unanswered == nil {
		r.unanswered = make(chan struct{}, min(most, maxUpdates))
	}
	r.mu.Unlock()
	select {
	case r.unanswered <- struct{}{}:
		return nil
	case <-r.ctx.Done():
		return errRequestOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxUpdates bounds the updates of one request that wait for their answer, if the peer has a bound that is higher.
const maxUpdates = 1024

// updated ends what mayUpdate began.
func (r *request) updated() {
	select {
	case <-r.unanswered:
	default:
	}
}

// takeAnswer takes the answer to an update of this side.
func (r *request) takeAnswer(id uint64, m wire.Message) error {
	var err error
	var said wire.Parameters
	switch m := m.(type) {
	case *wire.RequestError:
		err = requestError(m)
	case *wire.RequestOK:
		said = m.Parameters
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
	c.said = said
	r.answerUpdate(c, err)
	r.updated()
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
