package live

import (
	"io"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Verdict is what a cursor answers.
type Verdict uint8

// Verdicts.
const (
	Send       Verdict = iota // an object may be sent
	Wait                      // nothing may be sent now
	Whole                     // all was sent, and nothing more can come
	Incomplete                // the rest is missing, and nobody brings it any more
)

// Step is an answer of a cursor: what to do next.
type Step struct {
	Verdict Verdict
	Done    []uint64 // subgroups of which all objects were sent

	// Of Send: the object. It is valid until Sent, Over or Leave is called with the step.
	Object   *object.Object
	Payload  []byte // of an object that is whole; of one that is arriving, Part returns what has come
	Arriving bool   // it is not whole yet
	Size     int    // of the payload, also while it is not there
	Opens    bool   // the object is certainly the first one of its subgroup
	Datagram *moqt.Datagram
	Since    time.Time // when the object began to come; zero: it is read from the store
	Ended    time.Time // when a publisher ended the object's subgroup; zero: none has
	held     *Object

	// Of Wait:
	Wait    time.Duration   // ask again after this time,
	Changed <-chan struct{} // or when this is closed
}

// Cursor gives the objects of one group to one subscriber, from memory, or from the store while the group is not in memory. One
// goroutine uses it.
type Cursor struct {
	t         *Track
	of        uint64 // a Seq of the track's incarnation
	id, start uint64 // the group, and the object to begin with
	subgroups map[uint64]*sentOf
	datagrams map[uint64]bool // ids of objects sent as such

	// Lingering is set when everything known was sent and every subgroup has ended, but there may still be more.
	Lingering bool

	g *group // the group, as it was in memory last

	// While it reads from the store:
	r      *store.Reader
	expect uint64 // id of the next object
	ended  bool   // the last one was the group's end
}

// sentOf says how far a subgroup was sent.
type sentOf struct {
	id   int64 // of the last object, or what comes before the first
	some bool
	over bool // nothing more of the subgroup is to be sent
}

// Cursor returns a cursor for a group that begins with an object.
func (t *Track) Cursor(group, start uint64) *Cursor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Cursor{t: t, of: t.seq, id: group, start: start, subgroups: make(map[uint64]*sentOf)}
}

// Next says what to do next. An error is ErrAnew, or comes from reading the store.
func (c *Cursor) Next() (Step, error) {
	for {
		if c.t.files.Withheld(c.id) {
			return Step{}, store.ErrWithheld
		}
		if c.r == nil {
			if s, ok, err := c.fromMemory(time.Now()); ok || err != nil {
				return s, err
			}
			r, err := c.t.files.Open(c.id, c.start)
			if err != nil {
				return Step{}, err
			}
			c.r, c.expect, c.ended = r, c.start, false
		}
		if s, again, err := c.fromStore(); !again {
			return s, err
		}
	}
}

// Sent takes note that the step's object was sent.
func (c *Cursor) Sent(s *Step) {
	if s.Datagram != nil {
		if c.datagrams == nil {
			c.datagrams = make(map[uint64]bool)
		}
		c.datagrams[s.Object.ID] = true
	} else {
		w := c.subgroup(s.Object.Subgroup)
		w.id, w.some = int64(s.Object.ID), true
	}
	c.Leave(s)
}

// Over takes note that nothing more is to be sent of the subgroup of the step's object.
func (c *Cursor) Over(s *Step) {
	c.subgroup(s.Object.Subgroup).over = true
	c.Leave(s)
}

// Leave gives the step's object back.
func (c *Cursor) Leave(s *Step) {
	if s.held != nil {
		s.held.release()
		s.held = nil
	}
}

// Some reports whether anything was sent on a stream.
func (c *Cursor) Some() bool {
	for _, w := range c.subgroups {
		if w.some {
			return true
		}
	}
	return false
}

// Close must be called when the cursor is not used any more.
func (c *Cursor) Close() {
	if c.r != nil {
		c.r.Close()
		c.r = nil
	}
}

func (c *Cursor) subgroup(id uint64) *sentOf {
	w := c.subgroups[id]
	if w == nil {
		w = &sentOf{id: int64(c.start) - 1}
		c.subgroups[id] = w
	}
	return w
}

// isSent reports whether an object need not be sent.
func (c *Cursor) isSent(o *object.Object) bool {
	w := c.subgroup(o.Subgroup)
	return w.over || int64(o.ID) <= w.id || c.datagrams[o.ID]
}

// fromMemory returns the next step if the group is in memory; else ok is false.
func (c *Cursor) fromMemory(now time.Time) (s Step, ok bool, err error) {
	t := c.t
	g := t.lock(c.id)
	defer t.mu.Unlock()
	switch {
	case t.incarnation > c.of:
		return s, false, ErrAnew
	case g == nil:
		return s, false, nil
	}
	c.g = g
	o, retry := c.next(g, now)
	if o == nil {
		s.Verdict, s.Wait, s.Done = c.judge(g, now)
		s.Wait, s.Changed = min(s.Wait, retry), g.changed
		return s, true, nil
	}
	o.retain()
	s = Step{
		Object: &o.Object, Payload: o.Payload, Arriving: !o.whole(), Size: o.Size, Opens: o.Opens, Datagram: o.Datagram, Since: o.At,
		held: o,
	}
	if e := g.subs[o.Subgroup]; e.finished {
		s.Ended = e.at
	}
	return s, true, nil
}

// Part is what has come of an object that arrives.
type Part struct {
	Bytes  []byte // from an offset on
	Failed bool   // the rest will not come
	// If neither is set, more is to be waited for, for the time Left. The wait ends when one of the channels is closed. If Left is not
	// positive, the object has been waited for long enough.
	Left          time.Duration
	Came, Changed <-chan struct{}
}

// Part returns what has come of the step's object from an offset on.
func (c *Cursor) Part(s *Step, off int) (p Part) {
	t, o := c.t, s.held
	t.mu.Lock()
	defer t.mu.Unlock()
	a := o.arrival
	p = Part{Failed: a.failed, Left: time.Hour, Came: a.changed, Changed: c.g.changed}
	if o.done {
		p.Bytes = o.Payload[off:]
	} else {
		p.Bytes = a.at(off)
	}
	if newer := t.overtaken(c.g); !newer.IsZero() {
		p.Left = t.m.stallWait() - time.Since(laterTime(a.touched, newer))
	}
	return p
}

// fromStore returns the next step from what is stored. If again is set, the group may have come into memory meanwhile.
func (c *Cursor) fromStore() (s Step, again bool, err error) {
	t := c.t
	for {
		o, err := c.r.Next()
		if err != nil && err != io.EOF {
			return s, false, err
		}
		t.mu.Lock()
		complete, anew := t.ends && !t.over, t.incarnation > c.of // complete: the group has all ids up to its end
		t.mu.Unlock()
		if anew {
			return s, false, ErrAnew
		}
		if err == io.EOF || o.ID > c.expect && complete {
			info := c.r.Info()
			c.Close()
			if err == io.EOF && (c.ended || info.Complete) {
				return Step{Verdict: Whole}, false, nil
			}
			return c.unfinished(info)
		}
		c.expect, c.ended = o.ID+1, o.Status != object.Normal
		if c.isSent(o) {
			continue
		}
		opens := c.start == 0 && c.r.Info().Complete // then no object is missing before this one
		return Step{Object: o, Payload: o.Payload, Size: len(o.Payload), Opens: opens}, false, nil
	}
}

// unfinished says what to do when the store has no more of a group, or a hole in it.
func (c *Cursor) unfinished(i store.Info) (s Step, again bool, err error) {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.groups[c.id] != nil: // it has come into memory meanwhile
		return s, true, nil
	case t.largest == nil || t.largest.Group <= c.id || time.Since(i.Time) < t.m.stallWait():
		// The group is being written, or it is the newest one and a publisher may come back to it. It can be waited for in memory.
		t.mu.Unlock()
		t.bring(c.id)
		return s, true, nil
	case !t.ends:
		return Step{Verdict: Whole}, false, nil
	}
	return Step{Verdict: Incomplete}, false, nil
}
