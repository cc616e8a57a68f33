package moqt

import (
	"context"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TrackStatus asks what SUBSCRIBE_OK would say, without subscribing (§9.19). Track properties are in the answer from draft
// 18 on.
func (s *Session) TrackStatus(ctx context.Context, track object.TrackName, tokens ...Token) (TrackInfo, error) {
	if err := wire.CheckTrackName(track); err != nil {
		return TrackInfo{}, err
	}
	ask := &wire.TrackStatus{Subscribe: wire.Subscribe{Track: track, Parameters: wire.Parameters{Tokens: tokens}}}
	r := s.newRequest(ask, true, nobody{})
	m, err := r.ask(ctx, ask)
	if err != nil {
		return TrackInfo{}, err
	}
	ok, is := m.(*wire.RequestOK)
	if !is {
		return TrackInfo{}, r.broke(violation("%T in answer to TRACK_STATUS", m))
	}
	r.close()
	r.follow()
	info := TrackInfo{Largest: ok.Parameters.LargestObject, Properties: ok.Properties}
	if ok.Parameters.Expires != nil {
		info.Expires = duration(*ok.Parameters.Expires)
	}
	return info, nil
}

// TrackStatusRequest is a peer's TRACK_STATUS.
type TrackStatusRequest struct {
	Track  object.TrackName
	Tokens []Token

	by statusResponder
	// bare: the answer is to have no track properties.
	bare bool
}

// statusResponder is how a TrackStatusRequest is answered.
type statusResponder interface {
	refuser
	session() *Session
	tell(info TrackInfo) error
}

func (in *request) session() *Session { return in.s }

// tell answers a TRACK_STATUS.
func (in *request) tell(info TrackInfo) error {
	ok := &wire.RequestOK{RequestID: in.id, Parameters: wire.Parameters{LargestObject: in.s.largestFor(info.Largest)}, Properties: info.Properties}
	if ms := milliseconds(info.Expires); ms > 0 {
		ok.Parameters.Expires = &ms
	}
	err := in.answer(ok)
	in.close()
	return err
}

func (in *request) beginTrackStatus(m *wire.TrackStatus) error {
	tokens, ok, err := in.admit(m.Track, m.Parameters)
	if !ok {
		return err
	}
	r := &TrackStatusRequest{Track: m.Track, Tokens: tokens, by: in, bare: told([]byte{0}, m.Parameters) == nil}
	in.handle(func(ctx context.Context) { in.s.cfg.Handler.TrackStatus(ctx, r) })
	return nil
}

// Accept answers REQUEST_OK.
func (r *TrackStatusRequest) Accept(info TrackInfo) error {
	if r.bare {
		info.Properties = nil
	}
	return r.by.tell(info)
}

// Reject answers REQUEST_ERROR.
func (r *TrackStatusRequest) Reject(code RequestCode, reason string) error {
	return r.by.refuse(&wire.RequestError{RequestID: r.by.number(), Code: code, Reason: reason})
}
