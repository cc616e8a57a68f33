package moqt

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

func (sub *Subscription) take(m wire.Message) error {
	if m, is := m.(*wire.PublishStateNotify); is {
		sub.s.log.Debug("publisher changed a subscription", "track", sub.track.String(), "parameters", m.Parameters)
		return nil // it informs (draft-20 §10.10)
	}
	done, is := m.(*wire.PublishDone)
	if !is {
		return nobody{}.take(m)
	}
	if !sub.takeDone(done) {
		return violation("PUBLISH_DONE twice for request %d", sub.r.id)
	}
	return nil
}

// ended: the publisher ended the stream without PUBLISH_DONE, or the session is over.
func (sub *Subscription) ended(why error) {
	if sub.s.ctx.Err() != nil {
		sub.end(why)
		return
	}
	sub.takeDone(&wire.PublishDone{
		Code: doneFor(resetOf(why)), StreamCount: UnknownStreamCount, Reason: "publisher ended the request's stream",
	})
}

// doneFor is what the end of a subscription's stream says about it.
func doneFor(c ResetCode) DoneCode {
	switch c {
	case wire.ResetGoingAway:
		return wire.DoneGoingAway
	case wire.ResetTooFarBehind:
		return wire.DoneTooFarBehind
	case wire.ResetExpiredAuthToken:
		return wire.DoneExpired
	case wire.ResetExcessiveLoad:
		return wire.DoneExcessiveLoad
	case wire.ResetMalformedTrack:
		return wire.DoneMalformedTrack
	}
	return wire.DoneInternalError
}

// takeDone takes PUBLISH_DONE; false: it is not the first.
func (sub *Subscription) takeDone(m *wire.PublishDone) bool {
	sub.mu.Lock()
	if sub.done != nil {
		sub.mu.Unlock()
		return false
	}
	if _, last := bounds(sub.filter, nil); m.Code == wire.DoneExpired && last != openEnd && sub.info.Expires == 0 {
		// A range that came to its end. There is no code for that from draft 20 on; this one is said by publishers of ours.
		m.Code = wire.DoneSubscriptionEnded
	}
	sub.done = m
	complete := sub.seen >= m.StreamCount
	if !complete && sub.endErr == nil {
		// Streams may be late, or were reset before their header came: wait, but not for ever (§9.15).
		sub.timer = time.AfterFunc(sub.s.cfg.DoneTimeout, func() {
			sub.s.count.limit(limitDone)
			sub.finishDone()
		})
		sub.unwatch = context.AfterFunc(sub.s.ctx, func() { sub.end(context.Cause(sub.s.ctx)) }) // the request may be over
	}
	sub.mu.Unlock()
	if complete {
		sub.finishDone()
	}
	return true
}

// finishDone ends the subscription after PUBLISH_DONE: no more streams will be taken, those queued still are.
func (sub *Subscription) finishDone() {
	sub.mu.Lock()
	err := &DoneError{Code: sub.done.Code, Reason: sub.done.Reason}
	sub.mu.Unlock()
	sub.end(err)
}

// end stops taking streams and ends the request.
func (sub *Subscription) end(err error) {
	sub.stop(err)
	sub.r.close()
}

// stop stops taking streams.
func (sub *Subscription) stop(err error) {
	sub.mu.Lock()
	if sub.endErr != nil {
		sub.mu.Unlock()
		return
	}
	sub.endErr = err
	established := sub.established
	if sub.timer != nil {
		sub.timer.Stop()
		sub.unwatch()
	}
	var refused []*SubgroupReader
	var done *DoneError
	if !errors.As(err, &done) {
		refused, sub.queue = sub.queue, nil
	}
	sub.mu.Unlock()
	for _, r := range refused {
		r.cancel(wire.ResetCancelled)
	}
	if established {
		sub.s.aliases.retire(sub.alias, sub)
	}
	sub.cancel(err)
	signal(sub.wake)
	signal(sub.wakeData)
}

// malformed ends the subscription to a track that the publisher must not go on with. AcceptSubgroup returns *DoneError.
func (sub *Subscription) malformed(err error) {
	sub.s.log.Warn("track left", "track", sub.track.String(), "err", err)
	sub.stop(&DoneError{Code: wire.DoneMalformedTrack, Reason: err.Error()})
	sub.r.cancel(nil)
}

// Unsubscribe ends the subscription; streams not accepted yet are refused from now on. Readers already accepted go on
// until they were read or cancelled.
func (sub *Subscription) Unsubscribe() error {
	sub.mu.Lock()
	over := sub.endErr != nil || sub.done != nil
	sub.mu.Unlock()
	sub.stop(ErrClosed)
	if over || sub.s.ctx.Err() != nil {
		sub.r.close()
		return nil
	}
	return sub.s.orCause(sub.r.cancel(nil))
}
