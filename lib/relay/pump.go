package relay

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// pump sends one group to one subscriber. It writes what its cursor gives, and keeps deadlines; the cursor decides everything else.
type pump struct {
	s *subscriber
	live.Birth
	cursor  *live.Cursor
	step    live.Step                       // the last one of cursor
	writers map[uint64]*moqt.SubgroupWriter // open streams, by subgroup
	began   time.Time
	timer   *time.Timer

	waiting atomic.Bool // the pump waits for a publisher, not for the peer
	// lingering is set when everything known was sent and the streams are closed, but there may still be more.
	lingering atomic.Bool
	over      atomic.Bool
	lag       chan struct{} // closed when the subscriber is too far behind

	turn turn

	mu      sync.Mutex
	blocked *moqt.SubgroupWriter // the stream that is being written to
}

func newPump(s *subscriber, b live.Birth, start uint64) *pump {
	return &pump{
		s: s, Birth: b, cursor: s.groups.Cursor(b.ID, start), writers: make(map[uint64]*moqt.SubgroupWriter), lag: make(chan struct{}),
		turn: turn{turns: s.t.r.turns, pace: &s.pace},
	}
}

var (
	errLag     = errors.New("subscriber is too far behind")
	errStalled = errors.New("an object's publisher stalls")
)

// run sends the group to its end, or to where the pump gives it up.
func (p *pump) run(ctx context.Context) {
	p.began, p.timer = time.Now(), time.NewTimer(time.Hour)
	defer p.timer.Stop()
	defer p.cursor.Close()
	what, err := p.group(ctx)
	t := p.s.t
	c := &t.r.stats
	var reset *moqt.StreamResetError
	switch {
	case err == nil && what == live.Whole:
		p.finish(func(w *moqt.SubgroupWriter) { w.Close() })
	case err == nil:
		c.resetIncomplete.Add(1)
		t.r.misses.say(t.r.log, p.s, "incomplete group reset", "track", t.name.String(), "group", p.ID, "peer", p.s.name)
		p.finish(func(w *moqt.SubgroupWriter) { w.ResetDelivered(wire.ResetCancelled) }) // delivers what was written
	case errors.Is(err, store.ErrWithheld), t.banned.Load() != nil, t.st.Withheld(p.ID):
		p.abort(wire.ResetCancelled)
	case p.lagging() || errors.Is(err, errLag):
		c.resetLag.Add(1)
		t.r.misses.say(t.r.log, p.s, "group reset, subscriber is too far behind", "track", t.name.String(), "group", p.ID, "peer", p.s.name)
		p.abort(wire.ResetDeliveryTimeout)
	case errors.Is(err, store.ErrNotFound) && !p.cursor.Some():
		// Retention has removed the group before anything of it was sent, so there is no stream to reset.
		c.resetLag.Add(1)
	case errors.Is(err, errStalled):
		c.resetIncomplete.Add(1)
		t.r.misses.say(t.r.log, p.s, "group reset, an object did not go on", "track", t.name.String(), "group", p.ID, "peer", p.s.name)
		p.abort(wire.ResetCancelled)
	case errors.As(err, &reset), errors.Is(err, moqt.ErrNoForward), errors.Is(err, live.ErrAnew), ctx.Err() != nil:
		p.abort(wire.ResetCancelled)
	default:
		t.r.misses.say(t.r.log, p.s, "group not sent to its end", "track", t.name.String(), "group", p.ID, "peer", p.s.name, "err", err)
		p.abort(wire.ResetInternalError)
	}
}

// group writes step by step, until everything is sent or the rest is given up.
func (p *pump) group(ctx context.Context) (live.Verdict, error) {
	for s := &p.step; ; {
		if p.lagging() {
			return 0, errLag
		}
		var err error
		if *s, err = p.cursor.Next(); err != nil {
			return 0, err
		}
		for _, sub := range s.Done {
			if w := p.writers[sub]; w != nil {
				w.Close()
				delete(p.writers, sub)
			}
		}
		p.lingering.Store(p.cursor.Lingering)
		switch s.Verdict {
		case live.Send:
			p.waiting.Store(false)
			err = p.object(ctx, s)
			p.cursor.Leave(s)
		case live.Wait:
			err = p.wait(ctx, s.Wait, s.Changed, nil)
		default:
			return s.Verdict, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// wait waits for a publisher. It wakes the subscriber if that wanted to begin another group, which it may do while all its pumps wait.
func (p *pump) wait(ctx context.Context, d time.Duration, changed, came <-chan struct{}) error {
	if !p.waiting.Swap(true) && p.s.refused.Load() {
		p.s.groups.Kick()
	}
	p.timer.Reset(d)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.lag:
	case <-changed:
	case <-came:
	case <-p.timer.C:
	}
	return nil
}

// object sends the object of a step.
func (p *pump) object(ctx context.Context, s *live.Step) error {
	p.published(s)
	var begun time.Time
	if p.s.t.r.c.Traces != nil {
		begun = time.Now()
	}
	var err error
	switch {
	case p.expired(s):
		p.expire(s)
		return nil
	case s.Datagram != nil: // it may be lost, as every datagram may
		if p.s.by.peer.Spend(limits.Out, int64(s.Size)) != nil {
			p.cursor.Sent(s)
			return nil
		}
		err = p.s.pub.SendDatagram(*s.Datagram)
	case s.Arriving:
		err = p.follow(ctx, s)
	default:
		err = p.send(ctx, s)
	}
	if !begun.IsZero() {
		p.sentTrace(s, begun, err)
	}
	switch {
	case err == nil:
		p.count(s)
		p.cursor.Sent(s)
		return nil
	case errors.Is(err, errBroken):
		p.cursor.Over(s)
		return nil
	case late(err) && !s.Since.IsZero(): // other subgroups in memory go on
		p.s.t.r.stats.resetTimeout.Add(1)
		delete(p.writers, s.Object.Subgroup)
		p.cursor.Over(s)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded): // abandon sets the only deadline
		return errLag
	}
	return err
}

// expired reports whether an object that came since the pump began has waited longer than the delivery timeout allows (draft-18 §8).
func (p *pump) expired(s *live.Step) bool {
	if s.Since.Before(p.began) {
		return false
	}
	var d time.Duration
	switch w := p.writers[s.Object.Subgroup]; {
	case s.Datagram != nil:
		object, subgroup := p.s.pub.Timeouts(nil)
		if d = object; subgroup > 0 && (d == 0 || subgroup < d) {
			d = subgroup
		}
	case w != nil:
		d = w.Timeout()
	case s.Opens:
		d, _ = p.s.pub.Timeouts(s.Object.Properties)
	default:
		d, _ = p.s.pub.Timeouts(nil)
	}
	return d > 0 && time.Since(s.Since) > d
}

// expire gives up what has waited too long: a datagram, or the rest of a subgroup. Other subgroups go on.
func (p *pump) expire(s *live.Step) {
	p.s.t.r.stats.resetTimeout.Add(1)
	if s.Datagram != nil {
		p.cursor.Sent(s)
		return
	}
	if w := p.writers[s.Object.Subgroup]; w != nil {
		w.Reset(wire.ResetDeliveryTimeout)
		delete(p.writers, s.Object.Subgroup)
	}
	p.cursor.Over(s)
}

// published starts the delivery timeout of a subgroup whose publisher has ended it. The timeout runs from that end (draft-18 §8), or from
// when the pump began, if that was later.
func (p *pump) published(s *live.Step) {
	if w := p.writers[s.Object.Subgroup]; w != nil && !s.Ended.IsZero() {
		at := s.Ended
		if at.Before(p.began) {
			at = p.began
		}
		w.Published(at)
	}
}

// late reports whether an error says that the stream's own delivery timeout reset it.
func late(err error) bool {
	reset, ok := errors.AsType[*moqt.StreamResetError](err)
	return ok && !reset.Remote && reset.Code == wire.ResetDeliveryTimeout
}

// errBroken says that the stream was reset inside an object.
var errBroken = errors.New("the rest of an object does not come")

// follow sends an object while it arrives.
func (p *pump) follow(ctx context.Context, s *live.Step) error {
	o := s.Object
	w, err := p.open(ctx, s)
	if err != nil {
		return err
	}
	if err := w.WriteObjectHeader(o.ID, o.Properties, uint64(s.Size)); err != nil {
		return err
	}
	for off := 0; off < s.Size; {
		part := p.cursor.Part(s, off)
		switch {
		case part.Failed:
			// The rest of the subgroup can only be fetched.
			t := p.s.t
			t.r.stats.resetBroken.Add(1)
			t.r.misses.say(t.r.log, p.s, "object reset, nobody brings the rest of it", "track", t.name.String(), "group", p.ID, "object", o.ID, "peer", p.s.name)
			w.Reset(wire.ResetCancelled)
			delete(p.writers, o.Subgroup)
			return errBroken
		case len(part.Bytes) > 0:
			p.waiting.Store(false)
			err = p.write(ctx, w, o.Priority, len(part.Bytes), func() error { _, err := w.Write(part.Bytes); return err })
			off += len(part.Bytes)
		case p.lagging():
			return errLag
		case part.Left <= 0:
			return errStalled
		default:
			err = p.wait(ctx, part.Left, part.Changed, part.Came)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send writes an object that is whole.
func (p *pump) send(ctx context.Context, s *live.Step) error {
	w, err := p.open(ctx, s)
	if err != nil {
		return err
	}
	o := s.Object
	props := o.Properties
	if o.Status != object.Normal {
		props = nil
	}
	return p.write(ctx, w, o.Priority, len(s.Payload), func() error { return w.WriteObject(o.ID, props, moqt.ObjectStatus(o.Status), s.Payload) })
}

// open returns the stream an object goes on.
func (p *pump) open(ctx context.Context, s *live.Step) (*moqt.SubgroupWriter, error) {
	o := s.Object
	if w := p.writers[o.Subgroup]; w != nil {
		return w, nil
	}
	prio := o.Priority
	w, err := p.s.pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: o.Group, Subgroup: o.Subgroup, Priority: &prio, HasProperties: true, FirstObject: s.Opens})
	if err == nil {
		p.writers[o.Subgroup] = w
	}
	return w, err
}

// write lets f write n bytes to w when the peer may have them and it is the pump's turn.
func (p *pump) write(ctx context.Context, w *moqt.SubgroupWriter, priority uint8, n int, f func() error) error {
	if err := p.s.by.peer.Wait(ctx, limits.Out, int64(n), p.lag); err != nil {
		return err
	}
	if !urgent(p.s.pub.State(), priority) {
		if err := p.turn.begin(ctx, p.lag); err != nil {
			return err
		}
		defer p.turn.end()
	}
	p.setBlocked(w)
	defer p.setBlocked(nil)
	return f()
}

func (p *pump) count(s *live.Step) {
	c := &p.s.t.r.stats
	c.sentObjects.Add(1)
	c.sentBytes.Add(int64(s.Size))
	if s.Since.IsZero() {
		c.sentFromDisk.Add(1)
	}
}

// abandon makes the pump reset its streams, even while the peer does not read. Only the subscriber's run calls it.
func (p *pump) abandon() {
	if p.lagging() {
		return
	}
	close(p.lag)
	p.mu.Lock()
	if p.blocked != nil {
		p.blocked.SetWriteDeadline(time.Unix(1, 0))
	}
	p.mu.Unlock()
}

func (p *pump) lagging() bool {
	select {
	case <-p.lag:
		return true
	default:
		return false
	}
}

func (p *pump) setBlocked(w *moqt.SubgroupWriter) {
	p.mu.Lock()
	p.blocked = w
	if w != nil && p.lagging() {
		w.SetWriteDeadline(time.Unix(1, 0))
	}
	p.mu.Unlock()
}

// abort resets all streams at once.
func (p *pump) abort(code moqt.ResetCode) {
	p.finish(func(w *moqt.SubgroupWriter) { w.Reset(code) })
}

// finish ends all streams that are open.
func (p *pump) finish(end func(*moqt.SubgroupWriter)) {
	for _, w := range p.writers {
		end(w)
	}
	clear(p.writers)
}
