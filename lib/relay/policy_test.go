package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/store"
)

// big is a group too large for the windows of a connection that nobody reads from.
func big(group uint64) *object.Object {
	payload := make([]byte, 5<<20)
	payload[0] = byte(group)
	return &object.Object{Group: group, Payload: payload}
}

// A subscriber that reads nothing delays nobody; when it is too far behind, its oldest group is reset.
func TestSlowSubscriber(t *testing.T) { testSlowSubscriber(t, "moqt") }

func testSlowSubscriber(t *testing.T, over string) {
	s := start(t, t.TempDir(), listenAt(t, over), Config{MaxLag: 3, CacheBytes: 1}, store.Config{})
	p := s.publisher(t, ts)
	publish := func(g uint64) {
		p.put(big(g))
		p.put(&object.Object{Group: g, ID: 1, Status: object.EndOfGroup})
	}
	publish(0)
	s.stored(t, 2)

	slow := s.dial(t, nil)
	sub, err := slow.Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	quick := s.dial(t, nil)
	fast, err := quick.Subscribe(within(t, time.Minute), ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	const groups = 12
	for g := range uint64(groups) {
		if g > 0 {
			publish(g) // at the quick one's pace: on a busy machine it must not fall behind, too
		}
		r, err := fast.AcceptSubgroup(within(t, time.Minute))
		if err == nil {
			_, err = r.Next()
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err == nil {
			r.Next()
			_, err = r.Next()
		}
		if err != io.EOF {
			t.Fatalf("the quick subscriber was not served group %d: %v", g, err)
		}
	}
	wait(t, "resets", func() bool { return s.Stats().ResetLag > 0 })

	// It starts to read: what was given up ends in a reset, and it reaches the present.
	resets, last := int64(0), uint64(0)
	for last < groups-1 {
		r, err := sub.AcceptSubgroup(within(t, time.Minute))
		if err != nil {
			t.Fatalf("after group %d: %v", last, err)
		}
		last = r.Header().Group
		for {
			if _, err = r.Next(); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				break
			}
		}
		var reset *moqt.StreamResetError
		if errors.As(err, &reset) {
			resets++
		} else if err != io.EOF {
			t.Fatal(err)
		}
	}
	if resets == 0 {
		t.Error("groups were lost without a reset")
	}
}

// Old groups are served from disk when they have left memory, in the middle of a group too.
func TestFromDisk(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	const groups = 2 * live.MaxGroups
	for g := range uint64(groups) {
		p.group(g)
	}
	s.stored(t, groups*(parts+1))
	s.viewer(t, ts, from(0)).whole(groups)
	if s.Stats().SentFromDisk == 0 {
		t.Error("nothing came from disk")
	}
}

// full lets n writes through.
func TestDiskFullLiveGoesOn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	p.group(0)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	const groups = 60
	for g := uint64(1); g < groups; g++ {
		p.group(g)
		v.whole(int(g) + 1)
	}
	st := s.Stats()
	if st.NotStored == 0 || st.Objects != groups*(parts+1) {
		t.Errorf("%+v", st)
	}
	for g, ids := range s.fetchAll(t, ts, moqt.Location{}) {
		if i, _ := s.store.Track(ts).Group(g); i.Complete && !slices.Equal(ids, allIDs[:parts]) {
			t.Errorf("group %d: %v", g, ids)
		}
	}
}

// announcer is a publisher that only announces its namespace.
type announcer struct {
	moqt.UnimplementedHandler
	track object.TrackName
	pubs  chan *moqt.Publication
}

func (u *announcer) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	if !r.Track.Equal(u.track) {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	if pub, err := r.Accept(moqt.TrackInfo{}); err == nil {
		u.pubs <- pub
	}
}

func TestNamespaceWithoutPublish(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	u := &announcer{track: ts, pubs: make(chan *moqt.Publication, 1)}
	c := s.dial(t, u)
	if _, err := c.PublishNamespace(within(t, time.Minute), ts.Namespace); err != nil {
		t.Fatal(err)
	}
	v := s.viewer(t, ts, fromNow)
	p := &publisher{t: t, c: c, pub: <-u.pubs}
	p.group(1)
	v.whole(1)
	other := object.TrackName{Namespace: ts.Namespace, Name: "other"}
	var re *moqt.RequestError
	if _, err := s.view(t, other, fromNow); !errors.As(err, &re) || re.Code != wire.RequestDoesNotExist {
		t.Errorf("a track nobody has: %v", err)
	}
	// The publisher goes and another one announces: the subscriber does not have to do anything.
	c.leave()
	wait(t, "its end", func() bool { return s.Stats().LiveTracks == 0 })
	u2 := &announcer{track: ts, pubs: make(chan *moqt.Publication, 1)}
	c2 := s.dial(t, u2)
	if _, err := c2.PublishNamespace(within(t, time.Minute), ts.Namespace[:2]); err != nil {
		t.Fatal(err)
	}
	p = &publisher{t: t, c: c2, pub: <-u2.pubs}
	p.group(2)
	v.whole(2)
}

// crossing is a publisher whose PUBLISH crosses the relay's SUBSCRIBE.
type crossing struct {
	moqt.UnimplementedHandler
	c       *client
	crossed func() bool
	pubs    chan *moqt.Publication
	errs    chan error
}

func (u *crossing) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	go func() {
		pub, err := u.c.Publish(context.WithoutCancel(ctx), r.Track, moqt.PublishOptions{})
		u.pubs <- pub
		u.errs <- err
	}()
	for !u.crossed() && ctx.Err() == nil {
		runtime.Gosched()
	}
	r.Reject(wire.RequestDuplicateSubscription, "published")
}

// A publisher announces its namespace and publishes its track, while the relay subscribes for somebody who waits.
func TestPublishCrossesSubscribe(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	first := s.publisher(t, ts)
	first.group(0)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	v.whole(1)
	u := &crossing{pubs: make(chan *moqt.Publication, 1), errs: make(chan error, 1)}
	track := s.track(ts)
	u.crossed = func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for session := range s.sessions {
			session.mu.Lock()
			c := session.claimed[track]
			crossed := c != nil && c.crossed
			session.mu.Unlock()
			if crossed {
				return true
			}
		}
		return false
	}
	u.c = s.dial(t, u)
	if _, err := u.c.PublishNamespace(within(t, time.Minute), ts.Namespace); err != nil {
		t.Fatal(err)
	}
	pub, err := <-u.pubs, <-u.errs
	if err != nil {
		t.Fatalf("PUBLISH that crossed SUBSCRIBE: %v", err)
	}
	(&publisher{t: t, c: u.c, pub: pub}).group(1)
	v.whole(2)
}

func TestNamespaces(t *testing.T) { testNamespaces(t, "moqt") }

func testNamespaces(t *testing.T, over string) {
	dir := t.TempDir()
	s := start(t, dir, listenAt(t, over), Config{}, store.Config{})
	s.publisher(t, ts).group(1)
	s.stored(t, parts+1)
	s.stop()
	s = start(t, dir, listenAt(t, over), Config{}, store.Config{})
	sub, err := s.dial(t, nil).SubscribeNamespace(within(t, time.Minute), object.Namespace{"ec"}, moqt.SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := func(want string, done bool) {
		t.Helper()
		e, err := sub.Next(within(t, time.Minute))
		if err != nil || e.Namespace.String() != want || e.Done != done {
			t.Fatalf("got %+v, %v; want %s", e, err, want)
		}
	}
	event("ec-atsc-2065-3", false) // stored
	c := s.dial(t, nil)
	np, err := c.PublishNamespace(within(t, time.Minute), object.Namespace{"ec", "dvb", "1", "2", "3"})
	if err != nil {
		t.Fatal(err)
	}
	event("ec-dvb-1-2-3", false)
	if _, err := c.PublishNamespace(within(t, time.Minute), object.Namespace{"other"}); err != nil {
		t.Fatal(err)
	}
	p := s.publisher(t, object.TrackName{Namespace: object.Namespace{"ec", "source", "x", "1"}, Name: "ts"})
	event("ec-source-x-1", false)
	np.Done()
	event("ec-dvb-1-2-3", true)
	p.c.leave() // it published nothing
	event("ec-source-x-1", true)
}

// Tracks of others: several subgroups in a group, ids with gaps, no end of group, and objects without hashes.
func TestForeignTrack(t *testing.T) { inMemory(t, testForeignTrack) }

func testForeignTrack(t *testing.T) {
	name := object.TrackName{Namespace: object.Namespace{"other"}, Name: "video"}
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	c := s.dial(t, nil)
	pub, err := c.Publish(within(t, time.Minute), name, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	publish := func(g uint64) {
		for sub, ids := range [][]uint64{{0, 2, 6}, {1, 3, 9}} {
			w, err := pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: g, SubgroupFromFirst: true, HasProperties: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if err := w.WriteObject(id, nil, 0, fmt.Appendf(nil, "%d/%d/%d", g, sub, id)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0)
	s.stored(t, 6)
	sub, err := s.dial(t, nil).Subscribe(ctx, name, from(0))
	if err != nil {
		t.Fatal(err)
	}
	publish(1)
	publish(2)
	got := make(map[string]bool)
	for range 6 {
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for {
			o, err := r.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("group %d subgroup %d: %v", r.Header().Group, r.Header().Subgroup, err)
			}
			b, _ := io.ReadAll(r)
			if want := fmt.Sprintf("%d/%d/%d", r.Header().Group, r.Header().Subgroup, o.ID); string(b) != want {
				t.Errorf("got %q, want %q", b, want)
			}
			got[string(b)] = true
		}
	}
	if len(got) != 18 {
		t.Errorf("%d objects: %v", len(got), got)
	}
}

func TestDatagrams(t *testing.T) { testDatagrams(t, "moqt") }

func testDatagrams(t *testing.T, over string) {
	name := object.TrackName{Namespace: object.Namespace{"other"}, Name: "data"}
	s := start(t, t.TempDir(), listenAt(t, over), Config{}, store.Config{})
	pub, err := s.dial(t, nil).Publish(within(t, time.Minute), name, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.dial(t, nil).Subscribe(within(t, time.Minute), name, from(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.SendDatagram(moqt.Datagram{Group: 1, Payload: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	d, err := v.AcceptDatagram(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if d.Group != 1 || d.ID != 0 || string(d.Payload) != "hello" {
		t.Errorf("%+v", d)
	}
	// Streams and datagrams may share a group.
	w, err := pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: 1, SubgroupFromFirst: true})
	if err == nil {
		err = errors.Join(w.WriteObject(1, nil, wire.StatusNormal, []byte("on a stream")), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.SendDatagram(moqt.Datagram{Group: 1, ID: 2, Status: wire.StatusEndOfGroup}); err != nil {
		t.Fatal(err)
	}
	if d, err := v.AcceptDatagram(within(t, time.Minute)); err != nil || d.ID != 2 || d.Status != wire.StatusEndOfGroup {
		t.Errorf("%+v, %v", d, err)
	}
	r, err := v.AcceptSubgroup(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	h, err := r.Next()
	if b, rerr := io.ReadAll(r); h.ID != 1 || string(b) != "on a stream" || err != nil || rerr != nil {
		t.Errorf("%d, %q, %v, %v", h.ID, b, err, rerr)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last object: %v", err)
	}
	pub.Done(wire.DoneTrackEnded, "")
	if _, err := v.AcceptSubgroup(within(t, time.Minute)); !errors.Is(err, io.EOF) {
		t.Errorf("after the track: %v", err)
	}
	// What is stored comes on streams.
	f, err := s.dial(t, nil).Fetch(within(t, time.Minute), name, moqt.Location{Group: 1}, moqt.Location{Group: 1, Object: 3}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(2) {
		if o, err := f.Next(); err != nil || o.Kind != moqt.FetchedObject || o.Group != 1 || o.ID != id {
			t.Fatalf("fetched %+v, %v; want object %d", o, err, id)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	p.group(0)
	p.put(part(1, 0))
	s.stored(t, parts+2)
	v := s.viewer(t, ts, from(0))
	wait(t, "object 1/0", func() bool { return v.count(func(r *received) bool { return len(r.ids) > 0 }) == 2 })
	no, yes := false, true
	if err := v.sub.Update(within(t, time.Minute), moqt.UpdateOptions{Forward: &no}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the end of the stream", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.got[1].err != nil })
	for id := uint64(1); id <= parts; id++ {
		p.put(part(1, id))
	}
	p.group(2)
	p.put(part(3, 0))
	s.stored(t, 3*(parts+1)+1)
	if err := v.sub.Update(within(t, time.Minute), moqt.UpdateOptions{Forward: &yes}); err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= parts; id++ {
		p.put(part(3, id))
	}
	// From wherever the relay saw that it may go on: that may be after group 3.
	resumed := func() (at uint64, ok bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for g, r := range v.got {
			if g > 1 && r.fin && (!ok || g < at) {
				at, ok = g, true
			}
		}
		return at, ok
	}
	at, ok := resumed()
	for g := uint64(4); !ok && g < 1000; g++ {
		p.group(g)
		s.stored(t, int64(g+1)*(parts+1))
		at, ok = resumed()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !ok || at == 2 {
		t.Fatalf("resumed at group %d, %v", at, ok)
	}
	ids := v.got[at].ids
	if len(ids) == 0 || at == 3 && ids[0] == 0 || !slices.Equal(ids, allIDs[ids[0]:]) {
		t.Errorf("group %d: %+v", at, v.got[at])
	}
}

func TestTooManySessions(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{MaxSessions: 1}, store.Config{})
	s.dial(t, nil)
	wait(t, "the first session", func() bool { return s.Stats().Sessions == 1 })
	second, err := moqt.Dial(within(t, time.Minute), "moqt://"+s.addr, s.tls, nil)
	if err == nil { // it is asked who it is before it is refused
		err = second.Run(within(t, time.Minute))
	}
	if refused, is := errors.AsType[*moqt.SessionError](err); !is || refused.Code != wire.InternalError || !refused.Remote {
		t.Errorf("a second session: %v", err)
	}
}

func TestDrain(t *testing.T) { testDrain(t, "moqt") }

func testDrain(t *testing.T, over string) {
	const patience = 5 * time.Minute
	s := start(t, t.TempDir(), listenAt(t, over), Config{DrainTimeout: patience}, store.Config{})
	c := s.dial(t, nil)
	left := make(chan struct{})
	go func() {
		<-c.GoingAway()
		c.leave()
		close(left)
	}()
	began := time.Now()
	s.stop()
	<-left
	if d := time.Since(began); d >= patience {
		t.Errorf("stopping took %v although everybody left at once", d)
	}
}

// Each home misses other objects, and one is behind the other: together they have everything.
func TestHomesHealEachOther(t *testing.T) { inMemory(t, testHomesHeal) }

func testHomesHeal(t *testing.T) {
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.group(0)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	send := func(p *publisher, g uint64, without ...uint64) {
		for id := range uint64(parts + 1) {
			if !slices.Contains(without, id) {
				p.put(part(g, id))
			}
		}
	}
	send(a, 1, 1, 2)
	for g := uint64(2); g < 20; g++ {
		switch g % 3 {
		case 0:
			send(a, g, 1, 2)
		case 1:
			send(a, g, 0)
		case 2: // a has nothing of it
		}
		send(b, g-1, 4)
	}
	send(b, 19, 4)
	v.mu.Lock()
	for g, r := range v.got {
		for i, id := range r.ids {
			if id != uint64(i) {
				t.Errorf("group %d: %v", g, r.ids)
				break
			}
		}
	}
	v.mu.Unlock()
	// Groups that only b has lack object 4 for good.
	wait(t, "all groups", func() bool { return v.count(func(r *received) bool { return r.err != nil }) == 20 })
	v.mu.Lock()
	defer v.mu.Unlock()
	for g := range uint64(20) {
		r := v.got[g]
		if whole := g%3 != 2; whole && !isWhole(r) || !whole && !slices.Equal(r.ids, []uint64{0, 1, 2, 3, 5}) {
			t.Errorf("group %d: %+v", g, r)
		}
	}
}

func TestOneHomesEndOfTrackIsNotTheTracks(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.group(0)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	a.put(part(1, 0))
	a.put(&object.Object{Group: 1, ID: 1, Status: object.EndOfTrack})
	if err := a.w.Close(); err != nil {
		t.Fatal(err)
	}
	b.group(1)
	v.whole(2)
	if st := s.Stats(); st.Conflicts != 0 {
		t.Errorf("%+v", st)
	}
}

// Payloads larger than what a session may have on its way in, on several streams at once, all arrive.
func TestIngestIsBounded(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{IngestBytes: 1000}, store.Config{})
	p := s.publisher(t, ts)
	var wg sync.WaitGroup
	for g := range uint64(10) {
		q := &publisher{t: t, c: p.c, pub: p.pub}
		wg.Go(func() { q.group(g) })
	}
	wg.Wait()
	s.stored(t, 10*(parts+1))
	s.viewer(t, ts, from(0)).whole(10)
}
