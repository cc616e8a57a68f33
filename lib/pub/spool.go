package pub

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// maxOpenGroups is how many groups of a track may be unfinished at a time; the oldest one beyond is given up. A source works on
// one group, or on two while parts of the next one overtake.
const maxOpenGroups = 4

// maxGroups bounds the number of groups in the spool, because they may be tiny.
const maxGroups = 4096

// spool holds the objects that were read and may have to be sent, for the first time or again. One mutex guards it; every change
// wakes everybody who waits.
type spool struct {
	relays   int // how many relays are sent to from it
	maxAge   time.Duration
	maxBytes int64
	wait     bool // never drop a group that was not sent
	standby  bool // tracks may rest
	log      *slog.Logger

	mu     sync.Mutex
	cond   *sync.Cond
	tracks map[string]*track
	names  []*track // in order of declaration
	groups []*group // the groups of all tracks, in order of arrival
	bytes  int64
	next   uint64   // sequence number of the next group
	gone   []bool   // relays that failed for good
	ended  bool     // no more input
	passed []passed // groups that left the spool lately; they were sent and may not have arrived
	left   []*leftover

	claims    claims
	conflicts conflicts
	disk      *disk // nil: nothing is kept on disk

	faster *bool // the input runs faster than its own clock; nil: not known yet
	Stats
	up map[int]*moqt.Session // those that run, by the relay's index
}

// Stats counts what happened.
type Stats struct {
	// Repair tells of the paths to the relays, for a person: what they lose and what was made good. "" if nothing was.
	Repair                 string
	Groups, Objects, Bytes int64
	Duplicates, Late       int64 // objects that were not taken: known already, or of a group that was given up
	Unfinished             int64 // groups of which the input did not tell the end
	Dropped                int64 // groups that left the spool before a relay had them, counted for each relay
	Undelivered            int64 // groups that a relay had not confirmed at the end, counted for each relay
	Damaged                int64 // damaged places in the input
	Refused, Demoted       int64 // groups for which a relay holds others under their name; and those of them that were then sent under their source's name
}

type track struct {
	name       object.TrackName
	properties []byte
	paused     []bool   // by relay: it wants no objects for now
	rests      bool     // it is sent only when a relay asks (standby.go); then a group counts as sent but while it is being sent
	groups     []*group // the track's groups in the spool
	last       uint64   // sequence number of the newest group
	largest    *moqt.Location
	given      map[uint64]bool   // groups given up or evicted lately: their further objects are late
	many       bool              // has groups of several subgroups
	ended      bool              // end of track
	inserted   map[uint64]uint64 // by group: how many records of our own stand among those of the input
	untold     [][]byte          // records of our own that wait for an open group
}

type state uint8

const (
	open    state = iota
	whole         // the input said that the group is complete
	partial       // given up: its end is not known
)

type group struct {
	seq     uint64
	track   *track
	id      uint64
	objects []object.Object // in order of arrival, slices owned and never written again
	writes  []*write        // of each object; nil: it is not going to be on disk
	kept    kept
	lastID  map[uint64]uint64
	state   state
	end     *object.Object // the status object that ended it
	bytes   int64
	began   time.Time
	touched time.Time
	pts     clock.PTS // of the first object that has one
	hasPTS  bool
	sent    []bool      // by relay: it was sent, or the relay has it
	sentAt  []time.Time // by relay
	old     []bool      // by relay: it is of the backlog (backlog.go)
	// unwanted is by relay: it was sent although the relay did not fetch it, and may have been refused.
	unwanted []bool
	dropped  bool // the group was evicted before it was sent
	offered  bool // it was sent although its track rests
}

func newSpool(relays int, maxAge time.Duration, maxBytes int64, wait bool, log *slog.Logger) *spool {
	s := &spool{relays: relays, maxAge: maxAge, maxBytes: maxBytes, wait: wait, log: log, tracks: map[string]*track{}, gone: make([]bool, relays), up: map[int]*moqt.Session{}}
	s.conflicts = conflicts{entries: map[key]told{}, refused: map[key]*group{}}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// await waits, with the lock held, until ready returns true; false: ctx has ended.
func (s *spool) await(ctx context.Context, ready func() bool) bool {
	if ready() {
		return true
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cond.Broadcast()
	})
	defer stop()
	for !ready() {
		if ctx.Err() != nil {
			return false
		}
		s.cond.Wait()
	}
	return true
}

// track returns the state of a track, which is made on first use.
func (s *spool) track(t *object.Track) *track {
	key := t.Name.String()
	tr := s.tracks[key]
	if tr == nil {
		tr = &track{name: t.Name, properties: t.Properties, paused: make([]bool, s.relays), given: map[uint64]bool{}, inserted: map[uint64]uint64{}, rests: s.standby && rests(t.Name)}
		s.tracks[key] = tr
		s.names = append(s.names, tr)
		s.cond.Broadcast()
	}
	return tr
}

// declare makes a track known before its first object.
func (s *spool) declare(t *object.Track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.track(t)
}

// add takes an object. It waits for room if nothing may be dropped, and for the disk as long as that keeps up. The object's slices are copied.
func (s *spool) add(ctx context.Context, t *object.Track, o *object.Object, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size := int64(len(o.Payload) + len(o.Properties)); s.disk.full(size) && s.mustWait(now) {
		s.unlocked(func() { s.disk.room(ctx, size) })
	}
	s.put(t, o, now)
	s.unlocked(func() { s.disk.catchUp(ctx) }) // so a group that has to leave memory at once is on disk
	return s.trim(ctx, now)
}

func (s *spool) unlocked(wait func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	wait()
}

// put takes an object with the lock held, so that several can be put at once; trim makes room afterwards.
func (s *spool) put(t *object.Track, o *object.Object, now time.Time) {
	defer s.cond.Broadcast()
	tr := s.track(t)
	if n := tr.inserted[o.Group]; n > 0 {
		moved := *o
		moved.ID += n
		o = &moved
	}
	if tr.given[o.Group] {
		s.Late++
		return
	}
	g := tr.group(o.Group)
	switch {
	case g == nil && o.Status == object.EndOfGroup:
		return // it ends a group without objects
	case g == nil:
		s.giveUp(tr, maxOpenGroups-1)
		g = s.begin(tr, o.Group, now)
	case g.state == partial:
		s.Late++
		return
	case g.state == whole:
		if o.Status == object.Normal {
			s.Duplicates++ // the input may be two captures that overlap, one after the other
		}
		return
	}
	g.touched = now
	switch o.Status {
	case object.EndOfGroup:
		s.finish(g, o)
	case object.EndOfTrack:
		tr.ended = true
		s.finish(g, o)
	default:
		if last, ok := g.lastID[o.Subgroup]; ok && o.ID <= last {
			s.Duplicates++
			return
		}
		s.append(g, o)
		s.tell(g)
	}
}

// begin makes a group.
func (s *spool) begin(tr *track, id uint64, now time.Time) *group {
	g := &group{seq: s.next, track: tr, id: id, lastID: map[uint64]uint64{}, began: now, touched: now, sent: make([]bool, s.relays), sentAt: make([]time.Time, s.relays), old: make([]bool, s.relays), unwanted: make([]bool, s.relays)}
	s.next++
	tr.last = g.seq
	tr.groups = append(tr.groups, g)
	s.groups = append(s.groups, g)
	s.Groups++
	if s.ended || tr.rests {
		for i := range g.sent {
			g.sent[i] = true
		}
	}
	if s.ended && !tr.rests { // it was demoted, and sendLate sends it
		s.conflicts.late = append(s.conflicts.late, g)
	}
	return g
}

// append adds an object to a group.
func (s *spool) append(g *group, o *object.Object) {
	g.add(o)
	tr := g.track
	tr.many = tr.many || o.Subgroup != g.objects[0].Subgroup
	s.bytes += int64(len(o.Payload) + len(o.Properties))
	s.Objects++
	s.Bytes += int64(len(o.Payload))
	g.writes = append(g.writes, s.disk.put(tr.name, g.objects[len(g.objects)-1], &g.kept))
	if l := (moqt.Location{Group: o.Group, Object: o.ID}); tr.largest == nil || tr.largest.Less(l) {
		tr.largest = &l
	}
}

func (t *track) group(id uint64) *group {
	for i := len(t.groups) - 1; i >= 0; i-- {
		if t.groups[i].id == id {
			return t.groups[i]
		}
	}
	return nil
}

func (g *group) add(o *object.Object) {
	own := *o
	buf := make([]byte, len(o.Properties)+len(o.Payload))
	n := copy(buf, o.Properties)
	copy(buf[n:], o.Payload)
	own.Properties, own.Payload = buf[:n:n], buf[n:]
	g.objects = append(g.objects, own)
	g.lastID[o.Subgroup] = o.ID
	g.bytes += int64(len(buf))
	if !g.hasPTS {
		if p, err := object.ParseProperties(o.Properties); err == nil && p.HasPTS {
			g.pts, g.hasPTS = clock.PTS(p.PTS), true
		}
	}
}

// finish makes a group whole.
func (s *spool) finish(g *group, end *object.Object) {
	g.state = whole
	g.end = &object.Object{Group: end.Group, Subgroup: end.Subgroup, ID: end.ID, Priority: end.Priority, Status: end.Status}
	s.disk.put(g.track.name, *g.end, &g.kept)
}

// complete reports whether a group has every id up to its end.
func (g *group) complete() bool {
	n := len(g.objects)
	return g.state == whole && n > 0 && !g.track.many && g.lastID[g.objects[0].Subgroup] == uint64(n-1)
}

// giveUp gives up the oldest unfinished groups of a track until keep are left.
func (s *spool) giveUp(t *track, keep int) {
	n := 0
	for _, g := range t.groups {
		if g.state == open {
			n++
		}
	}
	for _, g := range t.groups {
		if n <= keep {
			return
		}
		if g.state == open {
			g.state = partial
			s.disk.over(t.name, g.id)
			s.Unfinished++
			n--
		}
	}
}

// counted counts the groups that no relay will get any more, and returns all counters.
func (s *spool) counted() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.left {
		if !l.arrived {
			s.Undelivered++
		}
	}
	for _, g := range s.groups {
		for _, sent := range g.sent {
			if !sent {
				s.Undelivered++
			}
		}
	}
	return s.Stats
}

// end notes that the input is over.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.names {
		s.giveUp(t, 0)
		s.tellAlone(t)
	}
	s.ended = true
	s.cond.Broadcast()
}

// wasSent notes that a group was sent to a relay, or that the relay has it.
func (s *spool) wasSent(g *group, relay int) {
	g.sent[relay], g.sentAt[relay] = true, time.Now()
	s.cond.Broadcast()
}

// onItsWay is how long before the end of a session something may have been sent that did not arrive: as long as the loss takes to be
// noticed, and a while for what is sent again on a bad path.
const onItsWay = 15 * time.Second

// lost notes that the session with a relay is over. What was sent lately may not have arrived, so it stays until it is sent again.
func (s *spool) lost(relay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if g.sent[relay] && !g.track.rests && time.Since(g.sentAt[relay]) < onItsWay {
			g.sent[relay] = false
		}
	}
}
