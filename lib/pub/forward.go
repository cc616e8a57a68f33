package pub

import (
	"context"
	"sync"

	"every.channel/ec/lib/moqt"
)

// A subscriber that sets Forward State 0 gets no objects until it sets 1 (draft-18 §5.1). A relay may do so at any time, for
// instance while it has no subscribers of its own. Groups wait for that where they are, with their streams open, so that nothing
// is lost and nothing is sent twice; those that leave the spool meanwhile are given up.

// followForward lets groups look again when the subscriber has changed what it wants, and tells the log of a pause, until the returned
// function is called.
func (u *uploader) followForward(pub *moqt.Publication, t *track) (stop func()) {
	ctx, cancel := context.WithCancel(pub.Context())
	log := u.log.With("track", t.name.String())
	var following sync.WaitGroup
	following.Go(func() {
		on := true
		for {
			was := on
			if on = pub.State().Forward; was && !on {
				log.Info("relay wants no objects for now")
			} else if on && !was {
				log.Info("relay wants objects again")
			}
			u.s.pause(t, u.index, !on)
			select {
			case <-pub.Updates():
				u.s.mu.Lock()
				u.s.cond.Broadcast()
				u.s.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		following.Wait()
	}
}

// pause notes whether a relay wants objects of a track. Those that it does not want do not stay for it longer than others.
func (s *spool) pause(t *track, relay int, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.paused[relay] = paused
}
