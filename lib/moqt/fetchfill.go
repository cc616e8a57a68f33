package moqt

import (
	"context"
	"errors"

	"every.channel/ec/lib/moqt/wire"
)

// fetchFill asks for what came before a subscription with a REQUEST_UPDATE that has FILL_PARAMETERS (draft-20 §5.1.3). m says where to
// start. Everything that a joining FETCH would be refused for is known here, except what the publisher does not want to give: then the
// stream of the fill is reset, and Next tells.
func (s *Session) fetchFill(ctx context.Context, sub *Subscription, m *wire.Fetch, _ Location, o FetchOptions) (*FetchReader, error) {
	start, last, err := sub.before(m)
	if err != nil {
		return nil, err
	}
	f := s.newFetchReader(o)
	f.sub, f.movable, f.answered = sub, &sub.r.movable, true
	f.info = FetchInfo{End: Location{Group: last.Group, Object: last.Object + 1}, Properties: sub.info.Properties}
	fill := o.parameters()
	fill.SubscriptionFilter = &Filter{Type: wire.FilterObjectRange, Start: start, EndGroup: last.Group, EndObject: last.Object}
	var id uint64
	_, err = sub.r.update(ctx, wire.Parameters{Tokens: o.Tokens, Fill: &fill}, func(n uint64) {
		id = n
		s.requests.addFill(id, f)
	})
	if err != nil {
		s.requests.takeFill(id)
		if errors.Is(err, errRequestOver) {
			err = &RequestError{Code: wire.RequestInvalidJoiningRequestID, Reason: "the subscription is over"}
		}
		return nil, err
	}
	close(f.told)
	context.AfterFunc(sub.ctx, func() { // every stream of the subscription came by then, or none will
		if s.requests.takeFill(id) != nil {
			f.fail(context.Cause(sub.ctx))
		}
	})
	return f, nil
}

// askFill asks in SUBSCRIBE for so many groups up to the largest object (draft-20 §5.1.3).
func (sub *Subscription) askFill(m *wire.Subscribe, groups uint64) {
	m.Parameters.Fill = &wire.Parameters{
		GroupOrder: wire.GroupOrderAscending, SubscriptionFilter: &Filter{Type: wire.FilterRelativeStart, Groups: groups},
	}
	sub.fill = sub.s.newFetchReader(FetchOptions{})
	sub.fill.sub, sub.fill.movable, sub.fill.answered = sub, &sub.r.movable, true
}

// expect takes what SUBSCRIBE_OK says for the answer to the fill. Without an object, or after the subscription, no stream comes.
func (f *FetchReader) expect() {
	sub := f.sub
	if l := sub.info.Largest; l != nil {
		f.info = FetchInfo{End: Location{Group: l.Group, Object: l.Object + 1}, Properties: sub.info.Properties}
	} else {
		f.fail(&RequestError{Code: wire.RequestInvalidRange, Reason: "nothing was published yet"})
	}
	close(f.told)
	context.AfterFunc(sub.ctx, func() { f.fail(context.Cause(sub.ctx)) })
}

// Fill reads what SubscribeOptions.Fill asked for; nil if nothing was, the draft has no such thing, or nothing was published yet. It is
// read to its end or cancelled. A publisher that does not fill sends nothing.
func (sub *Subscription) Fill() *FetchReader {
	if sub.info.Largest == nil {
		return nil
	}
	return sub.fill
}

// fillOf is the reader of the fill that a SUBSCRIBE of this side asked for; nil: it asked for none.
func (r *request) fillOf() *FetchReader {
	if sub, is := r.ownedBy().(*Subscription); is && r.typ == typeSubscribe {
		return sub.fill
	}
	return nil
}

// before is the range of what came before the subscription.
func (sub *Subscription) before(m *wire.Fetch) (start, last Location, err error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	switch {
	case sub.done != nil || sub.endErr != nil:
		return start, last, &RequestError{Code: wire.RequestInvalidJoiningRequestID, Reason: "the subscription is over"}
	case !sub.forward:
		return start, last, &RequestError{Code: wire.RequestInvalidRange, Reason: "the subscription is paused"}
	case sub.joined == nil:
		return start, last, &RequestError{Code: wire.RequestInvalidRange, Reason: "nothing was published yet"}
	}
	last = *sub.joined
	start.Group = m.JoiningStart
	if m.FetchType == wire.FetchRelativeJoining {
		start.Group = last.Group - min(m.JoiningStart, last.Group)
	}
	if last.Less(start) {
		err = &RequestError{Code: wire.RequestInvalidRange, Reason: "starts after the largest object"}
	}
	return start, last, err
}

// addFill makes a reader that of a fill with an id.
func (t *requestTable) addFill(id uint64, f *FetchReader) {
	t.mu.Lock()
	t.fills[id] = f
	t.mu.Unlock()
}

// takeFill takes the reader out; nil: there is none.
func (t *requestTable) takeFill(id uint64) *FetchReader {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.fills[id]
	delete(t.fills, id)
	return f
}
