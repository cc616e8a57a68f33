package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
)

// Done ends the subscription with PUBLISH_DONE and the count of streams. Streams still open are reset first, because
// the draft wants every stream closed before.
func (p *Publication) Done(code DoneCode, reason string) error {
	m := &wire.PublishDone{RequestID: p.r.id, Code: code, Reason: reason}
	if !p.stop(ErrClosed, m) {
		return nil
	}
	return p.sendDone(m)
}

// sendDone ends the subscription, unless fills are still on their way; then the last of them does.
func (p *Publication) sendDone(m *wire.PublishDone) error {
	p.mu.Lock()
	now := p.last == m && len(p.fills) == 0
	if now {
		p.last, m.StreamCount = nil, p.opened
	}
	p.mu.Unlock()
	if !now {
		return nil
	}
	defer p.r.close()
	if p.s.ctx.Err() != nil {
		return context.Cause(p.s.ctx)
	}
	return p.s.orCause(p.r.st.send(m))
}

// end ends publication and request without PUBLISH_DONE.
func (p *Publication) end(cause error) {
	p.stop(cause, nil)
	p.endFills()
	p.r.cancel(nil)
}

// stop resets what is open but fills; ok is false if the publication was over already. last is to be sent when they are over.
func (p *Publication) stop(cause error, last *wire.PublishDone) (ok bool) {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return false
	}
	p.over, p.last = true, last
	var ws []*SubgroupWriter
	for w := range p.streams {
		ws = append(ws, w)
	}
	p.mu.Unlock()
	for _, w := range ws {
		w.st.CancelWrite(wire.ResetCancelled)
		w.resetSent(wire.ResetCancelled)
	}
	p.r.stop(cause)
	return true
}

// forget removes a stream that was closed or reset.
func (p *Publication) forget(w *SubgroupWriter) {
	p.mu.Lock()
	delete(p.streams, w)
	if p.state.GroupOrder == wire.GroupOrderDescending {
		p.prioritize() // another group may be the newest now
	}
	p.mu.Unlock()
}
