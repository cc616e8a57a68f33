package relay

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// known returns a track that is here or at an upstream, after asking how far it goes; nil if nobody knows the track. untold
// reports that an upstream does not answer such questions, so the track may exist there.
func (r *Relay) known(ctx context.Context, name object.TrackName, through []string) (t *track, untold bool) {
	r.awaitArriving(ctx, name)
	t = r.lookup(name)
	if t != nil && (t.Local() || t.Linked()) {
		return t, false
	}
	type answer struct {
		info *moqt.TrackInfo
		err  error
	}
	answered := make(chan answer)
	over := make(chan struct{})
	defer close(over)
	asked := 0
	for _, u := range r.keepers(name, through) {
		s := u.current()
		if s == nil {
			continue
		}
		// Nobody waits for an upstream that takes long, but it must be noted as slow; so the request runs in the background.
		if s.background(func() {
			actx, cancel := context.WithTimeout(s.s.Context(), patience(through))
			defer cancel()
			info, err := s.ask.TrackStatus(actx, name, u.hops(through)...)
			if errors.Is(err, context.DeadlineExceeded) && s.s.Context().Err() == nil {
				u.stalled("track status")
			}
			select {
			case answered <- answer{&info, err}:
			case <-over:
			}
		}) {
			asked++
		}
	}
	var enough <-chan time.Time
	for ; asked > 0; asked-- {
		select {
		case a := <-answered:
			if a.err != nil {
				refusal, ok := errors.AsType[*moqt.RequestError](a.err)
				untold = untold || ok && refusal.Code == wire.RequestNotSupported
				continue
			}
			if t == nil {
				t = r.track(name)
			}
			t.Learn(a.info.Largest)
			t.Describe(a.info.Properties)
			if enough == nil {
				enough = time.After(graceOfOthers)
			}
		case <-enough:
			return t, untold
		case <-ctx.Done():
			return t, untold
		}
	}
	return t, untold
}
