package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// done ends the publication as a publisher of other make does.
func (p *publisher) done(code moqt.DoneCode) {
	p.t.Helper()
	if err := p.pub.Done(code, ""); err != nil {
		p.t.Error(err)
	}
}

// ends waits for the end of the subscription and checks which it is.
func (v *viewer) ends(code moqt.DoneCode) {
	v.t.Helper()
	wait(v.t, "the end of the subscription", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.end != nil })
	v.wg.Wait()
	var done *moqt.DoneError
	if !errors.As(v.end, &done) || done.Code != code {
		v.t.Fatalf("the subscription ended with %v, want %v", v.end, code)
	}
}

// When the last publisher says that its track ended, subscribers are told when they have all of it; so are those who come later.
// Whoever publishes it again has subscribers again.
func TestTrackEnds(t *testing.T) { inMemory(t, testTrackEnds) }

func testTrackEnds(t *testing.T) {
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	p := s.publisher(t, ts)
	live := s.viewer(t, ts, from(0))
	p.group(0)
	p.group(1)
	p.done(wire.DoneTrackEnded)
	live.ends(wire.DoneTrackEnded)
	if n := live.count(isWhole); n != 2 {
		t.Errorf("%d groups came before the end, want 2", n)
	}
	late := s.viewer(t, ts, from(0))
	late.ends(wire.DoneTrackEnded)
	if n := late.count(isWhole); n != 2 {
		t.Errorf("%d groups came after the end, want 2", n)
	}
	next := s.viewer(t, ts, moqt.SubscribeOptions{})
	next.ends(wire.DoneTrackEnded)

	paused := s.viewer(t, ts, moqt.SubscribeOptions{NoForward: true})
	paused.ends(wire.DoneTrackEnded)

	again := s.publisher(t, ts)
	more := s.viewer(t, ts, from(1))
	again.group(2)
	more.whole(2)
	again.done(wire.DoneSubscriptionEnded) // this home stops, another may go on
	s.publisher(t, ts).group(3)
	more.whole(3)
}

// One home's word does not count while another publishes; and one that vanishes ends nothing.
func TestOneHomesEndIsNotTheTracks(t *testing.T) { inMemory(t, testOneHomesEnd) }

func testOneHomesEnd(t *testing.T) {
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	v := s.viewer(t, ts, from(0))
	a.group(0)
	a.done(wire.DoneTrackEnded)
	b.group(1)
	v.whole(2)
	b.c.leave()
	c := s.publisher(t, ts)
	c.group(2)
	v.whole(3)
	c.done(wire.DoneTrackEnded)
	v.ends(wire.DoneTrackEnded)
}

// What an ended track lacks is not waited for, in groups and objects; nor is more of a group that does not tell its end.
func TestTrackEndsInAGroup(t *testing.T) { inMemory(t, testTrackEndsInAGroup) }

func testTrackEndsInAGroup(t *testing.T) {
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	p := s.publisher(t, ts)
	v := s.viewer(t, ts, from(0))
	p.group(0)
	p.put(part(1, 0))
	v.whole(1)
	wait(t, "an object", func() bool { return v.count(func(r *received) bool { return slices.Equal(r.ids, []uint64{0}) }) == 1 })
	p.w.Reset(wire.ResetInternalError)
	p.done(wire.DoneTrackEnded)
	v.ends(wire.DoneTrackEnded)
	var reset *moqt.StreamResetError
	if r := v.got[1]; !errors.As(r.err, &reset) {
		t.Errorf("the group that was not finished ended with %v, want a reset", r.err)
	}

	open := ts
	open.Name = "without ends"
	q := s.publisher(t, open)
	v = s.viewer(t, open, from(0))
	for g := range uint64(2) {
		q.put(part(g, 0))
		q.w.Close()
		q.w = nil
	}
	q.done(wire.DoneTrackEnded)
	v.ends(wire.DoneTrackEnded)
	if n := v.count(func(r *received) bool { return r.fin && slices.Equal(r.ids, []uint64{0}) }); n != 2 {
		t.Errorf("%d groups ended with FIN, want 2", n)
	}
}

// Ids that its publisher left out are not waited for, whether a group is in memory or comes from the store, which does not know
// that they were.
func TestTrackEndsWithGaps(t *testing.T) { inMemory(t, testTrackEndsWithGaps) }

func testTrackEndsWithGaps(t *testing.T) {
	const groups = 2 * live.MaxGroups
	s := start(t, t.TempDir(), pipe, Config{CacheBytes: 1}, store.Config{})
	p := s.publisher(t, ts)
	for g := range uint64(groups) {
		p.put(part(g, 1))
		p.put(part(g, 3))
		p.put(part(g, parts))
	}
	s.stored(t, 3*groups)
	p.done(wire.DoneTrackEnded)
	wait(t, "the end", s.Relay.track(ts).Ended)
	v := s.viewer(t, ts, from(0))
	v.ends(wire.DoneTrackEnded)
	if n := v.count(func(r *received) bool { return r.fin && slices.Equal(r.ids, []uint64{1, 3, parts}) }); n != groups {
		t.Errorf("%d groups are whole, want %d", n, groups)
	}
}

// An upstream passes the end on, and its subscriber does.
func TestChainTrackEnds(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := origin.publisher(t, ts)
	p.group(0)
	e := edge(t, origin.upstream())
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, from(0))
	v.whole(1)
	p.group(1)
	v.whole(2)
	p.done(wire.DoneTrackEnded)
	v.ends(wire.DoneTrackEnded)
	if n := v.count(isWhole); n != 2 {
		t.Errorf("%d groups came before the end, want 2", n)
	}
}

// An upstream tells that nobody publishes a track any more before it has sent the last of it and its end, however long that takes.
func TestEndComesAfterTheNamespaceIsGone(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		gone := make(chan struct{})
		h.then = func(a *moqt.NamespaceAnnouncer) {
			<-gone
			for _, ns := range h.routes {
				a.Remove(ns)
			}
		}
		h.subscr = func(ctx context.Context, r *moqt.SubscribeRequest) {
			pub, err := r.Accept(moqt.TrackInfo{})
			if err != nil {
				return
			}
			close(gone)
			time.Sleep(time.Minute) // linger is 10 s
			w, err := pub.OpenSubgroup(ctx, moqt.SubgroupHeader{HasProperties: true, EndOfGroup: true})
			if err != nil {
				t.Errorf("the track was left: %v", err)
				return
			}
			for id := range uint64(parts) {
				o := part(0, id)
				w.WriteObject(id, o.Properties, wire.StatusNormal, o.Payload)
			}
			w.Close()
			pub.Done(wire.DoneTrackEnded, "")
		}
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
		synctest.Wait()
		v := r.viewer(t, ts, moqt.SubscribeOptions{})
		v.whole(1)
		v.ends(wire.DoneTrackEnded)
	})
}
