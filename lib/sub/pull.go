package sub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

const (
	// liveGroups is how near the live edge a subscription begins; what is further back is fetched first.
	liveGroups = 2
	// tolerance between where a part ends and the next begins by their timestamps: frames are reordered, and no
	// chunk is that short.
	tolerance = clock.Hz / 2
	// grace is how long what is missing may be on its way in a stream of its own before it is fetched.
	grace = 50 * time.Millisecond
	// resubscribe is the pause before a track that ended is asked for again.
	resubscribe = time.Second
)

// pull reads one track, from as many relays and over as many sessions as it takes: a feeder for each session puts what
// comes into the assembler, and one reader takes it out in order.
type pull struct {
	c       Config
	rs      *relays
	out     *output
	log     *slog.Logger
	written string        // the name as given
	begun   chan struct{} // closed when it is known what to read

	resolving sync.Mutex // held while a relay is asked what the name means
	resolved  bool

	// gate guards what is being read from then on: feeders hold it for reading, who changes it holds it for writing.
	gate    sync.RWMutex
	name    object.TrackName
	named   bool          // name has the track
	follow  bool          // the name is a namespace, and another track may become its current one
	ids     ids           // of its groups
	to      moqt.Location // exclusive
	asm     *assembler
	reading context.Context // ends when something else is to be read
	leave   context.CancelFunc

	feeding atomic.Int32 // sessions at work

	mu        sync.Mutex // guards what follows
	declared  bool
	exhausted map[int]bool // relays that will bring nothing more

	// Owned by the reader.
	moved string // to which track the broadcast went

	// Of the last object written:
	group    uint64
	began    time.Time   // of the first one
	media    clock.Ticks // presentation time since then
	pts      clock.PTS
	hasPTS   bool
	expected clock.PTS // where the next one's PTS is if nothing lies between
	hasNext  bool
	brokeOff bool // objects of the group in progress are missing
}

func newPull(ctx context.Context, rs *relays, written string, name object.TrackName, named bool) *pull {
	p := &pull{
		c: rs.c, rs: rs, out: rs.out, log: rs.c.Log, written: written, name: name, named: named,
		asm: newAssembler(rs.c.Buffer), begun: make(chan struct{}), exhausted: map[int]bool{},
	}
	p.reading, p.leave = context.WithCancel(ctx)
	return p
}

// errTrackOver says that the track ended and Config.ExitAtEnd wants to know.
var errTrackOver = errors.New("track ended")

// errMoved says that the broadcast goes on under another track.
var errMoved = errors.New("broadcast moved to another track")

// run writes the track until nothing is left to read.
func (p *pull) run(ctx context.Context) error {
	defer func() { p.leave() }() // the feeders do
	select {
	case <-p.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			if err := p.drain(gctx); err != nil {
				return err
			}
			return errDone
		})
		if p.follow {
			g.Go(func() error { return p.watch(gctx) })
		}
		err := g.Wait()
		switch {
		case errors.Is(err, errDone):
			return nil
		case !errors.Is(err, errMoved):
			return err
		}
		p.leave()
		p.gate.Lock() // when the feeders have left
		err = p.move(ctx)
		p.reading, p.leave = context.WithCancel(ctx)
		p.gate.Unlock()
		if err != nil {
			return err
		}
	}
}

// feeder brings what a relay has, over one session. nil means that nothing is left to read.
func (p *pull) feeder(ctx context.Context, relay int, sess *client.Session) error {
	if err := p.resolve(ctx, sess); err != nil {
		return err
	}
	p.feeding.Add(1)
	defer p.feeding.Add(-1)
	for {
		reading, err := p.feedOnce(ctx, sess)
		if err == nil || errors.Is(err, errTrackOver) { // the reader may need the session still
			p.exhaust(relay)
			select {
			case <-ctx.Done():
			case <-reading.Done():
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case reading.Err() == nil:
			return err
		}
		p.gate.RLock() // while something else is made ready to be read
		over := p.reading == reading
		p.gate.RUnlock()
		if over {
			return nil
		}
	}
}

// feedOnce brings what is being read at the moment.
func (p *pull) feedOnce(ctx context.Context, sess *client.Session) (reading context.Context, _ error) {
	p.gate.RLock()
	defer p.gate.RUnlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.reading, cancel)()
	p.asm.touch()
	return p.reading, p.feed(ctx, sess)
}

// exhaust notes that a relay brought all it will ever bring, or (-1) that one was given up. When that is all of them the
// reader is told.
func (p *pull) exhaust(relay int) {
	p.mu.Lock()
	if relay >= 0 {
		p.exhausted[relay] = true
	}
	all := len(p.exhausted) > 0
	for i := range p.c.Relays {
		all = all && (p.exhausted[i] || p.rs.hopeless(i))
	}
	p.mu.Unlock()
	if all {
		p.asm.finish()
	}
}

// someExhausted reports whether a relay brought all it will ever bring.
func (p *pull) someExhausted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.exhausted) > 0
}

// declare writes the track's record, once.
func (p *pull) declare(properties []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.declared {
		return nil
	}
	p.declared = true
	return p.out.track(p.name, properties)
}

func (p *pull) isDeclared() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.declared
}

// feed brings what is past by FETCH, then what comes by SUBSCRIBE.
func (p *pull) feed(ctx context.Context, sess *client.Session) error {
	for {
		tried, err := p.catchUp(ctx, sess)
		if err != nil {
			return err
		}
		if at, started := p.asm.needed(); started && !maxLocation(at, tried).Less(p.to) {
			return nil
		}
		err = p.live(ctx, sess)
		done, ended := errors.AsType[*moqt.DoneError](err)
		switch {
		case err == nil:
			return nil
		case !ended:
			return err
		case errors.Is(done, io.EOF) && p.c.ExitAtEnd:
			return errTrackOver
		}
		p.log.Info("track ended, waiting for it to go on", "track", p.name.String(), "why", done.Error())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resubscribe):
		}
	}
}

// catchUp fetches until the live edge is near. It returns up to where this relay was asked: what it lacks it is not
// asked for again.
func (p *pull) catchUp(ctx context.Context, sess *client.Session) (tried moqt.Location, _ error) {
	for {
		at, started := p.asm.needed()
		if !started || !p.mayFetch() {
			return tried, nil
		}
		at = maxLocation(at, tried)
		info, err := sess.TrackStatus(ctx, p.name)
		if err != nil {
			if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestNotSupported {
				return tried, nil
			}
			return tried, refused(p.written, err)
		}
		p.rs.works(sess)
		if info.Largest == nil {
			return tried, nil
		}
		edge := moqt.Location{Group: info.Largest.Group, Object: info.Largest.Object + 1}
		last := p.to
		if edge.Less(last) {
			last = edge
		}
		past := info.Largest.Group > at.Group+p.ids.of(liveGroups) || !edge.Less(p.to)
		if !past || !at.Less(last) {
			return tried, nil
		}
		if err := p.fetch(ctx, sess, at, last, fetched); err != nil {
			return tried, err
		}
		tried = last
	}
}

// mayFetch reports whether a FETCH of several groups from the due one on brings only groups that are to be written, or were.
func (p *pull) mayFetch() bool {
	back, all := p.asm.isBack()
	return !back || all
}

func maxLocation(a, b moqt.Location) moqt.Location {
	if a.Less(b) {
		return b
	}
	return a
}

// live subscribes, fetches what lies between what is due and the subscription's beginning, and reads streams
// until the subscription ends.
func (p *pull) live(ctx context.Context, sess *client.Session) error {
	g, gctx := errgroup.WithContext(ctx)
	l := &liveReader{p: p, g: g, ctx: gctx}
	if err := l.subscribe(sess); err != nil {
		g.Wait()
		return err
	}
	defer l.unsubscribe()
	p.rs.works(sess)
	g.Go(l.move)
	return g.Wait()
}

// datagrams reads objects that come as datagrams. No publisher of ours sends any; one that does is read all the same.
func (p *pull) datagrams(ctx context.Context, sub *moqt.Subscription) error {
	for {
		d, err := sub.AcceptDatagram(ctx)
		if err != nil {
			return nil // the stream side tells why
		}
		o := object.Object{Group: d.Group, ID: d.ID, Status: object.Status(d.Status), Properties: d.Properties, Payload: d.Payload}
		if d.Priority != nil {
			o.Priority = *d.Priority
		}
		if err := p.asm.put(ctx, o, live); err != nil {
			return err
		}
		if d.EndOfGroup {
			p.asm.endGroup(d.Group, d.ID+1)
		}
	}
}

// subgroup reads one stream, of which the assembler knows that it was opened.
func (p *pull) subgroup(ctx context.Context, r *moqt.SubgroupReader) error {
	stop := context.AfterFunc(ctx, func() { r.Cancel(wire.ResetCancelled) })
	defer stop()
	h := r.Header()
	var end uint64
	for {
		oh, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !h.EndOfGroup {
				end = 0
			}
			p.asm.closed(h.Group, true, end)
			return nil
		}
		if err != nil {
			p.asm.closed(h.Group, false, 0)
			if reset, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				p.log.Debug("stream reset", "track", p.name.String(), "group", h.Group, "code", reset.Code.String())
				return nil
			}
			return err
		}
		o := object.Object{Group: h.Group, Subgroup: r.Header().Subgroup, ID: oh.ID, Priority: r.Priority(), Status: object.Status(oh.Status)}
		if err := readObject(&o, oh.Properties, oh.Size, r); err != nil {
			p.asm.closed(h.Group, false, 0)
			if _, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				return nil
			}
			return err
		}
		end = o.ID + 1
		if err := p.asm.put(ctx, o, live); err != nil {
			return err
		}
	}
}

// readObject fills in properties and payload, in memory of its own.
func readObject(o *object.Object, properties []byte, size uint64, r io.Reader) error {
	buf := make([]byte, uint64(len(properties))+size) // the session bounds size
	n := copy(buf, properties)
	o.Properties, o.Payload = buf[:n:n], buf[n:]
	_, err := io.ReadFull(r, o.Payload)
	return err
}

// healingPatience is for how many times Config.Reorder an answer to the fetch of a hole is waited for.
const healingPatience = 5

// fetch puts the objects from start to before end. healing is the reader's own fetch of a hole: what it does not
// bring may still come.
func (p *pull) fetch(ctx context.Context, sess *client.Session, start, end moqt.Location, how origin) error {
	wireEnd := end
	if end.Object == 0 { // "the whole group" in FETCH, so ours is the one before
		wireEnd = moqt.Location{Group: end.Group - 1}
	}
	// A refusal says that the range holds nothing, or that the relay cannot serve it; it may come late.
	refusal := func(err error) error {
		r, ok := errors.AsType[*moqt.RequestError](err)
		if !ok {
			return err
		}
		p.log.Debug("relay cannot serve a range", "track", p.name.String(), "from", start.String(), "to", end.String(), "error", err)
		if how != healing && len(p.c.Relays) == 1 && (r.Code == wire.RequestInvalidRange || r.Code == wire.RequestDoesNotExist) {
			p.asm.upTo(end)
		}
		return nil
	}
	patience := ctx
	if how == healing { // what is here waits meanwhile, and not every relay answers
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(ctx, healingPatience*p.c.Reorder)
		defer cancel()
	}
	r, err := sess.Fetch(patience, p.name, start, wireEnd, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if how == healing && err != nil && patience.Err() != nil && ctx.Err() == nil {
		p.log.Warn("relay does not answer a fetch", "track", p.name.String(), "from", start.String(), "to", end.String())
		return nil
	}
	if err != nil {
		return refusal(err)
	}
	stop := context.AfterFunc(ctx, func() { r.Cancel() })
	defer stop()
	defer r.Cancel()
	if !p.isDeclared() {
		info, err := r.Info(ctx)
		if err != nil {
			return refusal(err)
		}
		if err := p.declare(info.Properties); err != nil {
			return err
		}
	}
	last := start    // the location after the last object
	unknown := false // whether the relay may lack what follows last
	lacks := false   // whether another relay may have some of it
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !unknown && last.Object > 0 && last.Group < end.Group {
				p.asm.endGroup(last.Group, last.Object) // the relay has no more of a group that it knows whole
			}
			if how != healing && !lacks {
				p.asm.upTo(end)
			}
			return nil
		}
		if err != nil {
			if reset, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				p.log.Warn("relay broke off a fetch", "track", p.name.String(), "at", last.String(), "code", reset.Code.String())
				return nil
			}
			return refusal(err)
		}
		switch f.Kind {
		case moqt.FetchedUnknown:
			unknown, lacks = true, len(p.c.Relays) > 1
			p.asm.unknown(last.Group)
			p.log.Debug("relay does not know a range", "track", p.name.String(), "from", last.String(), "to", moqt.Location{Group: f.Group, Object: f.ID}.String())
			continue
		case moqt.FetchedNonExistent:
			if last.Object > 0 && f.Group >= last.Group && f.ID >= last.Object {
				p.asm.endGroup(last.Group, last.Object)
			}
			continue
		}
		if !unknown && last.Object > 0 && f.Group > last.Group {
			p.asm.endGroup(last.Group, last.Object)
		}
		o := object.Object{Group: f.Group, Subgroup: f.Subgroup, ID: f.ID, Priority: f.Priority}
		if err := readObject(&o, f.Properties, f.Size, r); err != nil {
			if _, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				return nil
			}
			return err
		}
		last, unknown = moqt.Location{Group: f.Group, Object: f.ID + 1}, false
		if how == healing {
			p.out.count(func(s *Stats) { s.Healed++ })
		}
		if err := p.asm.put(ctx, o, how); err != nil {
			return err
		}
		if how != healing && !lacks {
			p.asm.upTo(last)
		}
	}
}

// noEnd is a bound that is never reached.
var noEnd = moqt.Location{Group: math.MaxUint64, Object: math.MaxUint64}
