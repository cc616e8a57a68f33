package moqt

import (
	"context"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// fill is what a subscriber wants of a track besides what is published from now on (draft-20 §5.1.3). To the handler it is a fetch that
// refers to the subscription; it has no answer but its stream, and that is reset if there is nothing to send.
type fill struct {
	p   *Publication
	id  uint64 // of the message that asked for it
	req *FetchRequest
	ctx context.Context // ends with the fill
	end context.CancelFunc

	mu       sync.Mutex // guards what follows; no other lock is taken under it
	answered bool
	over     bool
}

// fill starts what FILL_PARAMETERS in a message ask for, which was applied. It waits while there are too many fills.
func (p *Publication) fill(id uint64, asked wire.Parameters, largest *Location) {
	state := p.State()
	if asked.Fill == nil || largest == nil || !state.Forward {
		return
	}
	filter := state.Filter
	if f := asked.Fill.SubscriptionFilter; f != nil {
		filter = *f
	}
	start, last := bounds(filter, largest)
	if largest.Less(last) {
		last = *largest
	}
	if last.Less(start) {
		return // draft-20 §5.1.3: no stream then
	}
	select {
	case p.s.fills <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	f := &fill{p: p, id: id}
	f.req = &FetchRequest{
		Track: p.track, Start: start, End: Location{Group: last.Group, Object: last.Object + 1}, Joining: p, by: f,
		Priority: state.Priority, GroupOrder: or(asked.Fill.GroupOrder, or(state.GroupOrder, wire.GroupOrderAscending)), Tokens: p.tokens,
	}
	if len(asked.Tokens) > 0 {
		f.req.Tokens = asked.Tokens
	}
	if x := asked.Fill.SubscriberPriority; x != nil {
		f.req.Priority = *x
	}
	if ms := asked.Fill.FillTimeout; ms != nil {
		d := duration(*ms)
		f.req.FillTimeout = &d
	}
	filters := asked.Fill.RangeFilters
	if len(filters) == 0 {
		p.mu.Lock()
		filters = p.filters
		p.mu.Unlock()
	}
	ranges, _ := p.s.readFilters(filters) // which were checked
	f.req.sieve = newSieve(ranges, openEnd)
	f.ctx, f.end = context.WithCancel(p.s.ctx)
	if !p.addFill(f) {
		f.end()
		<-p.s.fills
		return
	}
	p.s.spawn(func() {
		f.req.serve(f.ctx, p.s)
		f.req.Reject(wire.RequestInternalError, "not answered")
	})
}

// addFill reports whether the publication may still have one.
func (p *Publication) addFill(f *fill) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.ctx.Err() != nil {
		return false
	}
	p.fills[f] = struct{}{}
	return true
}

// endFills ends all fills because the subscription was cancelled.
func (p *Publication) endFills() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.fills {
		f.end()
	}
}

// answer reports whether the handler answers for the first time.
func (f *fill) answer() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := !f.answered
	f.answered = true
	return first
}

func (f *fill) session() *Session        { return f.p.s }
func (f *fill) number() uint64           { return f.id }
func (f *fill) context() context.Context { return f.ctx }

// opened: PUBLISH_DONE counts the stream.
func (f *fill) opened() {
	f.p.mu.Lock()
	f.p.opened++
	f.p.mu.Unlock()
}

func (f *fill) accept(FetchInfo) error {
	if !f.answer() {
		return ErrAnswered
	}
	return nil
}

// refusalPause is how long the header of a refused fill has to leave before the stream is reset: quic-go sends nothing of a stream any more
// once it is reset, and without the header the subscriber does not know what was refused.
const refusalPause = 100 * time.Millisecond

// refuse opens the stream and resets it after its header (draft-20 §5.1.3).
func (f *fill) refuse(m *wire.RequestError) error {
	if !f.answer() {
		return ErrAnswered
	}
	w, err := f.req.open()
	if err != nil {
		return err
	}
	if w.begins() == nil {
		select {
		case <-time.After(refusalPause):
		case <-f.ctx.Done():
		}
	}
	w.Reset(resetFor(m.Code))
	return nil
}

func (f *fill) goAway(uri string, patience time.Duration) error { return f.p.GoAway(uri, patience) }

// close ends the fill; the last one lets PUBLISH_DONE go that waited for it.
func (f *fill) close() {
	f.mu.Lock()
	over := f.over
	f.over = true
	f.mu.Unlock()
	if over {
		return
	}
	f.end()
	<-f.p.s.fills
	p := f.p
	p.mu.Lock()
	delete(p.fills, f)
	last := p.last
	p.mu.Unlock()
	if last != nil {
		p.sendDone(last)
	}
}
