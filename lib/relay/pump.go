package relay

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// outcome is how a step of a pump ended.
type outcome uint8

const (
	more       outcome = iota // look again: the group moved between memory and disk
	whole                     // all sent: FIN
	incomplete                // nobody continues it: RESET
)

// run sends the group to its end.
func (p *pump) run(ctx context.Context) {
	p.began = time.Now()
	t := p.s.t
	c := &t.r.stats
	for {
		t.mu.Lock()
		g := t.groups[p.id]
		t.mu.Unlock()
		var what outcome
		var err error
		if g != nil {
			what, err = p.memory(ctx, g)
		} else {
			what, err = p.disk(ctx)
		}
		var reset *moqt.StreamResetError
		switch {
		case err == nil && what == more:
			continue
		case err == nil && what == whole:
			p.finish(0, true)
		case err == nil:
			c.resetIncomplete.Add(1)
			t.r.log.Warn("incomplete group reset", "track", t.name.String(), "group", p.id, "peer", p.s.name)
			p.finish(wire.ResetCancelled, false)
		case p.lagging() || errors.Is(err, errLag):
			c.resetLag.Add(1)
			t.r.log.Warn("group reset, subscriber is too far behind", "track", t.name.String(), "group", p.id, "peer", p.s.name)
			p.abort(wire.ResetDeliveryTimeout)
		case errors.Is(err, errTimeout):
			c.resetTimeout.Add(1)
			p.abort(wire.ResetDeliveryTimeout)
		case errors.Is(err, store.ErrNotFound) && !p.some():
			// Retention was faster. There is no stream that could be reset.
			c.resetLag.Add(1)
		case errors.Is(err, errStalled):
			c.resetIncomplete.Add(1)
			t.r.log.Warn("group reset, an object did not go on", "track", t.name.String(), "group", p.id, "peer", p.s.name)
			p.abort(wire.ResetCancelled)
		case errors.As(err, &reset), errors.Is(err, errRefused), errors.Is(err, moqt.ErrNoForward), ctx.Err() != nil:
			p.abort(wire.ResetCancelled)
		default:
			t.r.log.Warn("group not sent to its end", "track", t.name.String(), "group", p.id, "peer", p.s.name, "err", err)
			p.abort(wire.ResetInternalError)
		}
		return
	}
}

var (
	errLag     = errors.New("subscriber is too far behind")
	errTimeout = errors.New("delivery timeout")
	errStalled = errors.New("an object's publisher stalls")
)

func (p *pump) some() bool {
	for _, w := range p.writers {
		if w.some {
			return true
		}
	}
	return false
}

// abort resets what is open at once.
func (p *pump) abort(code moqt.ResetCode) {
	for _, w := range p.writers {
		if w.w != nil && !w.closed {
			w.w.Reset(code)
			w.closed = true
		}
	}
}

// memory sends from memory what may be sent, and waits for more.
func (p *pump) memory(ctx context.Context, g *group) (outcome, error) {
	t := p.s.t
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer p.waiting.Store(false)
	for {
		if p.lagging() {
			return 0, errLag
		}
		t.mu.Lock()
		if g.evicted {
			t.mu.Unlock()
			return more, nil
		}
		now := time.Now()
		o, retry := p.next(g, now)
		what, wait := more, time.Hour
		var closing []*writer
		if o == nil {
			what, wait, closing = p.judge(g, now)
			wait = min(wait, retry)
		}
		changed := g.changed
		newer := !t.overtaken(g).IsZero()
		whole := true
		var payload []byte
		if o != nil {
			o.retain()
			whole, payload = o.whole(), o.Payload
			p.published(g, o.Subgroup)
		}
		t.mu.Unlock()
		for _, w := range closing {
			w.w.Close()
			w.closed = true
		}
		if o != nil {
			p.waiting.Store(false)
			d := p.s.pub.State().DeliveryTimeout
			var err error
			switch {
			case d > 0 && newer && o.at.After(p.began) && now.Sub(o.at) > d:
				err = errTimeout
			case o.datagram != nil:
				err = p.sendDatagram(o)
			case whole:
				err = p.send(ctx, &o.Object, payload, o.opens)
			default:
				err = p.follow(ctx, g, o, timer)
			}
			o.release()
			if late(err) { // the other subgroups go on
				t.r.stats.resetTimeout.Add(1)
				p.stream(o.Subgroup).closed = true
				continue
			}
			if err != nil {
				return 0, deadline(err)
			}
			continue
		}
		if what != more {
			return what, nil
		}
		p.wait()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-p.lag:
		case <-changed:
		case <-timer.C:
		}
	}
}

// published starts the delivery timeout of a subgroup whose end is known, as seen when the stream is written to next: from when
// its publisher ended it (draft-18 §8), or from when the pump began, for who asked later. The track's mutex is held.
func (p *pump) published(g *group, sub uint64) {
	s, w := g.subs[sub], p.writers[sub]
	if !s.finished || w == nil || w.w == nil || w.closed {
		return
	}
	at := s.at
	if at.Before(p.began) {
		at = p.began
	}
	w.w.Published(at)
}

// late reports that a delivery timeout of the stream itself ended it.
func late(err error) bool {
	reset, ok := errors.AsType[*moqt.StreamResetError](err)
	return ok && !reset.Remote && reset.Code == wire.ResetDeliveryTimeout
}

// wait tells that the pump waits for a publisher. The subscriber is woken only if it wanted to begin another group.
func (p *pump) wait() {
	if !p.waiting.Swap(true) && p.s.refused.Load() {
		p.s.kick()
	}
}

// follow sends an object while it arrives, and its end when it is whole.
func (p *pump) follow(ctx context.Context, g *group, o *obj, timer *time.Timer) error {
	w, err := p.open(ctx, &o.Object, o.opens)
	if err != nil {
		return err
	}
	if err := w.w.WriteObjectHeader(o.ID, o.Properties, uint64(o.size)); err != nil {
		return err
	}
	t := p.s.t
	stall := t.r.c.StallWait
	for off := 0; off < o.size; {
		t.mu.Lock()
		a := o.arrival
		var b []byte
		if o.done {
			b = o.Payload[off:]
		} else {
			b = a.at(off)
		}
		failed, came, changed, left := a.failed, a.changed, g.changed, time.Hour
		if newer := t.overtaken(g); !newer.IsZero() {
			since := a.touched
			if newer.After(since) {
				since = newer
			}
			left = stall - time.Since(since)
		}
		t.mu.Unlock()
		if len(b) > 0 && !failed {
			p.waiting.Store(false)
			err := p.write(ctx, w.w, o.Priority, func() error { _, err := w.w.Write(b); return err })
			if err != nil {
				return err
			}
			off += len(b)
			continue
		}
		switch {
		case failed:
			// The rest of the subgroup can only be fetched.
			t.r.stats.resetBroken.Add(1)
			t.r.log.Warn("object reset, nobody brings the rest of it", "track", t.name.String(), "group", p.id, "object", o.ID, "peer", p.s.name)
			w.w.Reset(wire.ResetCancelled)
			w.closed = true
			return nil
		case p.lagging():
			return errLag
		case left <= 0:
			return errStalled
		}
		p.wait()
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.lag:
		case <-came:
		case <-changed: // there may be a newer group
		case <-timer.C:
		}
	}
	p.sent(w, &o.Object, o.size)
	return nil
}

// deadline names the only reason why a write may miss its deadline.
func deadline(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errLag
	}
	return err
}

// next returns the next object that may be sent without leaving out one that may still come. In each
// subgroup an object follows the one with the id before it. Where its publisher left ids out, it follows the
// one that its publisher sent before it; but another publisher may have what this one left out, so that is
// believed only after a while. If nothing may be sent now, retry tells when to ask again.
func (p *pump) next(g *group, now time.Time) (o *obj, retry time.Duration) {
	from := p.start
	if !g.several && len(p.writers) == 1 {
		for _, w := range p.writers {
			from = uint64(w.sent + 1)
		}
	}
	i, _ := g.search(from)
	stall := p.s.t.r.c.StallWait
	retry = time.Hour
	var stuck []uint64
	for _, o := range g.objs[i:] {
		if o.datagram != nil {
			if !p.datagrams[o.ID] {
				return o, 0
			}
			continue
		}
		w := p.stream(o.Subgroup)
		id := int64(o.ID)
		if id <= w.sent || w.closed || slices.Contains(stuck, o.Subgroup) {
			continue
		}
		if id == w.sent+1 {
			return o, 0
		}
		// How long nothing may have come before it is sent although ids before it are missing.
		patience := time.Duration(-1)
		switch {
		case p.s.t.over: // what is missing will not come
			patience = 0
		case o.hasPrev && int64(o.prev) <= w.sent, !w.some && o.first:
			patience = 0
			if !g.several && len(p.s.t.sources) > 1 {
				patience = stall / 2
			}
		case !w.some && !o.hasPrev: // nobody knows what came before it
			patience = stall
		}
		if patience >= 0 {
			left := patience - now.Sub(o.at)
			if left <= 0 {
				return o, 0
			}
			retry = min(retry, left)
		}
		stuck = append(stuck, o.Subgroup)
	}
	return nil, retry
}

// judge says, when nothing may be sent, what to do: wait, or end the group. Streams of subgroups that are
// finished are closed at once.
func (p *pump) judge(g *group, now time.Time) (what outcome, wait time.Duration, closing []*writer) {
	stall := p.s.t.r.c.StallWait
	i, _ := g.search(p.start)
	sent, last := true, uint64(0)
	for _, o := range g.objs[i:] {
		last = o.ID
		if o.datagram != nil {
			sent = sent && p.datagrams[o.ID]
		} else if w := p.stream(o.Subgroup); !w.closed && int64(o.ID) > w.sent {
			sent = false
		}
	}
	finished := len(g.subs) > 0
	for sub, w := range p.writers {
		s := g.subs[sub]
		finished = finished && (s.finished || w.closed)
		if s.finished && w.some && !w.closed && w.sent >= int64(s.last) {
			closing = append(closing, w)
		}
	}
	n := uint64(len(g.objs) - i)
	newer := p.s.t.overtaken(g)
	switch {
	case sent && g.hasEnd && (p.start > g.end || n == g.end-p.start+1):
		return whole, 0, closing // every object up to the end
	case sent && g.hasEnd && g.open == 0 && finished && last == g.end:
		if left := stall - now.Sub(g.touched); left > 0 && g.objs[len(g.objs)-1].datagram != nil {
			return more, left, closing // the end may have overtaken a stream
		}
		return whole, 0, closing // ids were left out by their publisher
	case p.s.t.over && sent && g.open == 0 && (finished || g.hasEnd || !p.s.t.ends):
		return whole, 0, closing
	case p.s.t.over && sent:
		return incomplete, 0, closing
	case newer.IsZero() && !p.s.t.over:
		return more, time.Hour, closing
	}
	// A track whose groups do not carry their end may still bring another subgroup.
	p.lingering.Store(sent && finished && g.open == 0 && !p.s.t.ends)
	since := g.touched
	if newer.After(since) {
		since = newer
	}
	if left := stall - now.Sub(since); left > 0 {
		return more, left, closing
	}
	if sent && g.open == 0 && !p.s.t.ends {
		return whole, 0, closing
	}
	return incomplete, 0, closing
}

// disk sends what the store has of a group that is not in memory.
func (p *pump) disk(ctx context.Context) (outcome, error) {
	t := p.s.t
	r, err := t.st.Open(p.id, p.start)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	expect, ended := p.start, false
	for {
		o, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		t.mu.Lock()
		complete := t.ends && !t.over // else ids may be left out
		t.mu.Unlock()
		if o.ID > expect && complete {
			return p.unfinished(r.Info()), nil
		}
		if w := p.stream(o.Subgroup); int64(o.ID) > w.sent && !p.datagrams[o.ID] {
			opens := p.start == 0 && r.Info().Complete // all of the group is here
			if err := p.send(ctx, o, o.Payload, opens); err != nil {
				return 0, deadline(err)
			}
			t.r.stats.sentFromDisk.Add(1)
		}
		expect, ended = o.ID+1, o.Status != object.Normal
	}
	if ended || r.Info().Complete {
		return whole, nil
	}
	return p.unfinished(r.Info()), nil
}

// unfinished says what to do when the store has no more of a group, or a hole in it.
func (p *pump) unfinished(i store.Info) outcome {
	t := p.s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.groups[p.id] != nil:
		return more // it came to life meanwhile
	case t.largest == nil || t.largest.Group <= p.id || time.Since(i.Time) < t.r.c.StallWait:
		// It is being written, or is the newest and a publisher may come back to it: in memory it can be waited for.
		t.newGroup(p.id)
		return more
	case !t.ends:
		return whole
	}
	return incomplete
}
