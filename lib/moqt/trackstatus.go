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

	in *request
}

func (in *request) beginTrackStatus(m *wire.TrackStatus) error {
	tokens, ok, err := in.admit(m.Track, m.Parameters)
	if !ok {
		return err
	}
	r := &TrackStatusRequest{Track: m.Track, Tokens: tokens, in: in}
	in.handle(func(ctx context.Context) { in.s.cfg.Handler.TrackStatus(ctx, r) })
	return nil
}

// Accept answers REQUEST_OK.
func (r *TrackStatusRequest) Accept(info TrackInfo) error {
	ok := &wire.RequestOK{RequestID: r.in.id, Parameters: wire.Parameters{LargestObject: r.in.s.largestFor(info.Largest)}, Properties: info.Properties}
	if ms := milliseconds(info.Expires); ms > 0 {
		ok.Parameters.Expires = &ms
	}
	err := r.in.answer(ok)
	r.in.close()
	return err
}

// Reject answers REQUEST_ERROR.
func (r *TrackStatusRequest) Reject(code RequestCode, reason string) error {
	return r.in.reject(code, reason)
}
