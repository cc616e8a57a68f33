package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
)

// relate resolves a fetch that starts some groups before the one after the largest (draft-20 §5.1.2). What the largest object is
// the handler says, as it does for TRACK_STATUS.
func (r *FetchRequest) relate(ctx context.Context, s *Session, groups uint64) *RequestError {
	a := &asked{s: s, id: r.by.number()}
	q := &TrackStatusRequest{Track: r.Track, Tokens: r.Tokens, by: a}
	s.cfg.Handler.TrackStatus(ctx, q)
	if a.info == nil {
		if a.refusal != nil && a.refusal.Code == wire.RequestDoesNotExist {
			return a.refusal
		}
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "the largest object is not known"}
	}
	largest := a.info.Largest
	if largest == nil || groups == 0 {
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "starts after the largest object"}
	}
	r.Start, _ = bounds(Filter{Type: wire.FilterRelativeStart, Groups: groups}, largest)
	r.End = Location{Group: largest.Group, Object: largest.Object + 1}
	return nil
}

// asked is a status that a session asked its own handler for. The handler answers before it returns.
type asked struct {
	s       *Session
	id      uint64
	info    *TrackInfo
	refusal *RequestError
}

func (a *asked) session() *Session { return a.s }
func (a *asked) number() uint64    { return a.id }

func (a *asked) tell(info TrackInfo) error {
	a.info = &info
	return nil
}

func (a *asked) refuse(m *wire.RequestError) error {
	a.refusal = requestError(m)
	return nil
}
