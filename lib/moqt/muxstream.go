package moqt

import (
	"context"
	"fmt"
	"sync"

	"every.channel/ec/lib/moqt/wire"
)

// muxStream is the requestStream of a request on the control stream.
type muxStream struct {
	x    *controlMux
	r    *request
	wake chan struct{} // capacity 1: there is more in queue
	gone chan struct{} // closed when this side ended the request

	mu        sync.Mutex // guards what follows
	queue     []*handed  // bounded by the peer's credit, as each is or ends a request, or is the one answer to one of this side
	current   *handed    // that was returned by next
	answering int        // answers being written: nothing is waited for meanwhile
	answered  bool       // the request got its answer
	left      bool       // the peer ended it
	done      bool       // PUBLISH_DONE came
	over      bool       // this side did
}

// handed is a message, or the end, on its way from the reader of the control stream to that of a request.
type handed struct {
	m     wire.Message
	err   error
	taken chan struct{} // closed when it was acted on; nil after that
}

// hand gives a message or the end to the reader of the request and waits until it was acted on.
func (v *muxStream) hand(m wire.Message, err error) {
	h := &handed{m, err, make(chan struct{})}
	taken := h.taken
	v.mu.Lock()
	if v.over {
		v.mu.Unlock()
		return
	}
	v.queue = append(v.queue, h)
	wait := v.answering == 0
	v.mu.Unlock()
	signal(v.wake)
	if !wait {
		return
	}
	select {
	case <-taken:
	case <-v.gone:
	case <-v.x.s.ctx.Done():
	}
}

// release lets the reader of the control stream go on; v.mu is held.
func (h *handed) release() {
	if h != nil && h.taken != nil {
		close(h.taken)
		h.taken = nil
	}
}

func (v *muxStream) next(ctx context.Context) (wire.Message, error) {
	for {
		v.mu.Lock()
		v.current.release()
		v.current = nil
		if len(v.queue) > 0 {
			h := v.queue[0]
			v.queue = v.queue[1:]
			v.current = h
			v.mu.Unlock()
			return h.m, h.err
		}
		v.mu.Unlock()
		select {
		case <-v.wake:
		case <-v.gone:
			return nil, ErrClosed
		case <-v.x.s.ctx.Done():
			return nil, context.Cause(v.x.s.ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (v *muxStream) send(m wire.Message) error {
	switch m := m.(type) {
	case *wire.RequestUpdate:
		v.x.add(m.RequestID, v)
	case *wire.RequestOK:
		return v.reply(m.RequestID, m)
	case *wire.RequestError:
		return v.reply(m.RequestID, inOldWords(m))
	case *wire.SubscribeOK, *wire.PublishOK, *wire.FetchOK:
		return v.reply(v.r.id, m)
	case *wire.PublishDone:
		return v.speak(m)
	case *wire.GoAway:
		return fmt.Errorf("GOAWAY of one request in %v: %w", v.x.s.v, wire.ErrValue)
	default:
		v.x.add(v.r.id, v)
	}
	return v.x.s.control.send(m)
}

// reply sends the answer to the request of the peer or to an update of it.
func (v *muxStream) reply(id uint64, m wire.Message) error {
	if id == v.r.id {
		v.mu.Lock()
		v.answered = true
		v.mu.Unlock()
		return v.x.s.control.send(m)
	}
	return v.speak(m)
}

// speak sends what the reader of the request may have to say before it asks for more. What was handed to it counts as acted on, and
// while the peer does not read, nothing more is waited for.
func (v *muxStream) speak(m wire.Message) error {
	v.mu.Lock()
	v.answering++
	v.current.release()
	for _, h := range v.queue {
		h.release()
	}
	v.mu.Unlock()
	err := v.x.s.control.send(m)
	v.mu.Lock()
	v.answering--
	v.mu.Unlock()
	return err
}

// leave marks the request as ended by this side.
func (v *muxStream) leave() (first, answered, left bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return false, false, false
	}
	v.over = true
	close(v.gone)
	return true, v.answered, v.left
}

func (v *muxStream) close() {
	first, answered, _ := v.leave()
	if first && (answered || !v.r.own) {
		v.x.forget(v.r.id, !v.r.own)
	}
}

func (v *muxStream) cancel(why *RequestError) error {
	first, answered, left := v.leave()
	switch {
	case !first:
		return nil
	case !v.r.own:
		v.x.forget(v.r.id, true)
	case answered:
		v.x.forget(v.r.id, false)
	case v.x.find(v.r.id) == nil: // it was never sent
		return nil
	case v.r.typ != typeFetch:
		return nil // when the answer comes
	}
	if left || v.x.s.ctx.Err() != nil {
		return nil
	}
	return v.farewell(why)
}

// farewell sends what ends the request in draft 16, if there is such a message.
func (v *muxStream) farewell(why *RequestError) error {
	id := v.r.id
	switch {
	case v.r.typ == typeFetch && v.r.own:
		return v.x.s.control.send(&wire.FetchCancel{RequestID: id})
	case v.r.typ == typeSubscribe && v.r.own, v.r.typ == typePublish && !v.r.own:
		return v.x.s.control.send(&wire.Unsubscribe{RequestID: id})
	case v.r.typ == typePublish:
		return v.x.s.control.send(&wire.PublishDone{RequestID: id, Code: wire.DoneInternalError, Reason: "publisher left"})
	case v.r.typ == typePublishNamespace && v.r.own:
		return v.x.s.control.send(&wire.PublishNamespaceDone{RequestID: id})
	case v.r.typ == typePublishNamespace && why != nil:
		return v.x.s.control.send(&wire.PublishNamespaceCancel{RequestID: id, Code: why.Code, Reason: why.Reason})
	}
	return nil
}

// inOldWords says a refusal with the codes of draft 16, which has none for what came later.
func inOldWords(m *wire.RequestError) *wire.RequestError {
	old := *m
	switch m.Code {
	case wire.RequestGoingAway:
		old.Code = wire.RequestInternalError
	case wire.RequestRedirect:
		old.Code, old.Redirect = wire.RequestDoesNotExist, nil
	}
	return &old
}
