package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// upstream is how another relay reaches this one.
func (s *server) upstream() Upstream { return Upstream{Relay: "moqt://" + s.addr, TLS: s.tls} }

// edge starts a relay behind others.
func edge(t testing.TB, ups ...Upstream) *server {
	t.Helper()
	return start(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: ups, Linger: 50 * time.Millisecond}, store.Config{})
}

// knows waits until a relay has heard that a namespace is live or stored upstream.
func (s *server) knows(t testing.TB, ns object.Namespace) {
	t.Helper()
	wait(t, "the namespace upstream", func() bool {
		return len(s.keepers(object.TrackName{Namespace: ns, Name: "x"}, nil)) == len(s.upstreams)
	})
}

// addresses returns addresses that nobody listens on.
func addresses(t testing.TB, n int) (list []string) {
	t.Helper()
	for range n {
		list = append(list, loopback.Address(t))
	}
	return list
}

// ring starts relays, each the upstream of the one before it. What they are tested with is whether all comes, not what becomes of a
// group that a machine which stands still for two seconds does not go on with: that is reset, as it should be.
func ring(t testing.TB, n int) (list []*server) {
	t.Helper()
	addrs := addresses(t, n)
	for i, addr := range addrs {
		up := Upstream{Relay: "moqt://" + addrs[(i+1)%n], TLS: &tls.Config{InsecureSkipVerify: true}}
		list = append(list, start(t, t.TempDir(), addr, Config{Upstreams: []Upstream{up}, Linger: 50 * time.Millisecond, StallWait: time.Minute}, store.Config{}))
	}
	return list
}

func TestChain(t *testing.T) {
	t.Parallel()
	for _, relays := range []int{2, 3} {
		for _, v := range wire.Versions() {
			t.Run(fmt.Sprintf("%d relays, %v", relays, v), func(t *testing.T) {
				t.Parallel()
				origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
				last := origin
				for range relays - 1 {
					up := last.upstream()
					up.Session.Versions = []moqt.Version{v}
					last = edge(t, up)
				}
				p := origin.publisher(t, ts)
				for g := range uint64(3) {
					p.group(100 + g)
				}
				p.put(part(103, 0))
				origin.stored(t, 3*(parts+1)+1)
				last.knows(t, ts.Namespace)

				viewers := []*viewer{last.viewer(t, ts, fromNow), last.viewer(t, ts, fromNow), last.viewer(t, ts, from(100))}
				if l := viewers[0].sub.Info().Largest; l == nil || *l != (moqt.Location{Group: 103}) {
					t.Fatalf("largest is %v", l)
				}
				for id := range uint64(parts) {
					p.put(part(103, id+1))
				}
				for g := range uint64(5) {
					p.group(104 + g)
				}
				viewers[0].whole(5)
				viewers[1].whole(5)
				viewers[2].whole(9)
				if n := origin.Stats().Subscribers; n != 1 {
					t.Errorf("%d subscriptions at the origin for one track", n)
				}
				for _, v := range viewers {
					v.c.leave()
				}
				wait(t, "the subscription to be left", func() bool { return origin.Stats().Subscribers == 0 })
			})
		}
	}
}

// What an edge lacks is fetched once, stored whole, and served again without its upstream.
func TestChainPast(t *testing.T) {
	dir := t.TempDir()
	origin := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	e := edge(t, origin.upstream())
	p := origin.publisher(t, ts)
	for g := range uint64(6) {
		p.group(10 + 3*g) // ids skip
	}
	p.put(part(40, 0))
	p.put(part(40, 1))
	origin.stored(t, 6*(parts+1)+2)
	e.knows(t, ts.Namespace)
	check := func() {
		t.Helper()
		got := e.fetchAll(t, ts, moqt.Location{})
		if len(got) != 7 || !slices.Equal(got[40], []uint64{0, 1}) {
			t.Errorf("fetched %v", got)
		}
		for g, ids := range got {
			if g != 40 && !slices.Equal(ids, allIDs[:parts]) {
				t.Errorf("group %d: %v", g, ids)
			}
		}
	}
	check()
	for g := range uint64(6) {
		if i, ok := e.store.Track(ts).Group(10 + 3*g); !ok || !i.Complete {
			t.Errorf("group %d is not whole in the store of the edge", 10+3*g)
		}
	}
	n := origin.Stats().Fetches
	check()
	// Only whether group 40 has grown is asked.
	if again := origin.Stats().Fetches; again > n+1 {
		t.Errorf("%d fetches at the origin for what the edge has", again-n)
	}
	origin.stop()
	check()
	if b := e.Stats().Backfilled; b != 6*parts+2 {
		t.Errorf("%d objects backfilled", b)
	}
}

// Who joins between two groups and fetches the one before has it whole, and nothing is waited for in it.
func TestChainJoinsBetweenGroups(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	e := edge(t, origin.upstream())
	p := origin.publisher(t, ts)
	p.group(1)
	origin.stored(t, parts+1)
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, moqt.SubscribeOptions{})
	if l := v.sub.Info().Largest; l == nil || *l != (moqt.Location{Group: 1, Object: parts}) {
		t.Fatalf("largest is %v", l)
	}
	r, err := v.c.Fetch(within(t, 10*time.Second), ts, moqt.Location{Group: 1}, moqt.Location{Group: 1, Object: parts + 1}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if _, err := r.Next(); err == io.EOF && n == parts {
			break
		} else if err != nil {
			t.Fatalf("after %d objects: %v", n, err)
		}
	}
	p.group(2)
	v.whole(1)
	if i, _ := e.store.Track(ts).Group(1); !i.Complete || e.Stats().ResetIncomplete > 0 {
		t.Errorf("%+v, %+v", i, e.Stats())
	}
}

// An object that contradicts its own hash is not taken from an upstream either.
func TestChainRefusesWhatIsWrong(t *testing.T) {
	bad := &liar{o: part(5, 0)}
	bad.o.Payload = []byte("something else")
	cert, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	l, err := moqt.Listen("127.0.0.1:0", moqt.ServerTLS(cert), &moqt.Config{Handler: bad})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s, err := l.Accept(ctx)
			if err != nil {
				return
			}
			s.Run(ctx)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; l.Close() })
	e := edge(t, Upstream{Relay: "moqt://" + l.Addr().String(), TLS: &tls.Config{InsecureSkipVerify: true}})
	e.knows(t, ts.Namespace)
	if got := e.fetchAll(t, ts, moqt.Location{}); len(got) != 0 {
		t.Errorf("served %v", got)
	}
	if n := e.Stats().Refused; n == 0 {
		t.Error("nothing was refused")
	}
}

// liar is an upstream without a list of namespaces, whose object is not what its hash says.
type liar struct {
	moqt.UnimplementedHandler
	o *object.Object
}

func (l *liar) TrackStatus(_ context.Context, r *moqt.TrackStatusRequest) {
	r.Accept(moqt.TrackInfo{Largest: &moqt.Location{Group: l.o.Group}})
}

func (l *liar) Fetch(_ context.Context, r *moqt.FetchRequest) {
	w, err := r.Accept(moqt.FetchInfo{End: r.End})
	if err != nil {
		return
	}
	w.WriteObject(moqt.FetchObject{Group: l.o.Group, ID: l.o.ID, Properties: l.o.Properties}, l.o.Payload)
	w.Close()
}

// The upstream goes and comes back: subscribers go on, with what was published meanwhile.
func TestUpstreamRestarts(t *testing.T) {
	dir := t.TempDir()
	origin := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	e := edge(t, origin.upstream())
	p := origin.publisher(t, ts)
	p.group(1)
	origin.stored(t, parts+1)
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, from(1))
	v.whole(1)
	p.put(part(2, 0))
	p.put(part(2, 1))
	e.stored(t, parts+3)
	p.c.leave()
	addr := origin.addr
	origin.stop()
	wait(t, "the loss", func() bool { return e.Stats().LiveTracks == 0 })

	// Local things are still served.
	if got := e.fetchAll(t, ts, moqt.Location{}); len(got) != 2 {
		t.Errorf("fetched %v", got)
	}

	origin = start(t, dir, addr, Config{}, store.Config{})
	p = origin.publisher(t, ts)
	p.w = nil
	w, err := p.pub.OpenSubgroup(within(t, 10*time.Second), moqt.SubgroupHeader{Group: 2, HasProperties: true})
	if err != nil {
		t.Fatal(err)
	}
	p.w = w
	for id := uint64(2); id <= parts; id++ {
		p.put(part(2, id))
	}
	for g := range uint64(5) {
		p.group(3 + g)
	}
	v.whole(7)
}

// Of two upstreams one dies in the middle of a group: the subscriber sees nothing of it.
func TestTwoUpstreams(t *testing.T) {
	a := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	b := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	e := edge(t, a.upstream(), b.upstream())
	pa, pb := a.publisher(t, ts), b.publisher(t, ts)
	pa.group(1)
	pb.group(1)
	a.stored(t, parts+1)
	b.stored(t, parts+1)
	e.knows(t, ts.Namespace)
	v := e.viewer(t, ts, fromNow)
	wait(t, "both", func() bool { return a.Stats().Subscribers == 1 && b.Stats().Subscribers == 1 })
	for id := range uint64(2) {
		pa.put(part(2, id))
		pb.put(part(2, id))
	}
	e.stored(t, 2)
	a.stop()
	for id := uint64(2); id <= parts; id++ {
		pb.put(part(2, id))
	}
	pb.group(3)
	pb.group(4)
	v.whole(3)
	if s := e.Stats(); s.Conflicts != 0 || s.ResetIncomplete != 0 {
		t.Errorf("%+v", s)
	}
}

// The publisher at the edge leaves; what is published upstream continues it.
func TestPublisherHereThenUpstream(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	e := edge(t, origin.upstream())
	far := origin.publisher(t, ts)
	far.group(1)
	origin.stored(t, parts+1)
	e.knows(t, ts.Namespace)
	near := e.publisher(t, ts)
	near.group(1)
	e.stored(t, parts+1)
	v := e.viewer(t, ts, from(1))
	v.whole(1)
	if n := origin.Stats().Subscribers; n != 0 {
		t.Errorf("%d subscriptions upstream for what is published here", n)
	}
	far.group(2)
	near.c.leave()
	far.group(3)
	v.whole(3)
}

func TestRing(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			relays := ring(t, n)
			p := relays[0].publisher(t, ts)
			p.group(1)
			relays[0].stored(t, parts+1)
			var viewers []*viewer
			for i, r := range relays {
				if i > 0 {
					r.knows(t, ts.Namespace)
				}
				viewers = append(viewers, r.viewer(t, ts, from(1)))
			}
			for g := range uint64(5) {
				p.group(2 + g)
			}
			for _, v := range viewers {
				v.whole(6)
			}
			// Nothing circles: the relay that publishes takes nothing back, and the others take it once.
			for i, r := range relays {
				if s := r.Stats(); s.Duplicates > parts+1 || i == 0 && s.Duplicates > 0 {
					t.Errorf("relay %d: %d duplicates", i, s.Duplicates)
				}
			}
			// A range that nobody has is asked for and not found, rather than asked for in circles.
			got := relays[n-1].fetchAll(t, ts, moqt.Location{Group: 6})
			if len(got) != 1 {
				t.Errorf("fetched %v", got)
			}
			unknown := object.TrackName{Namespace: ts.Namespace, Name: "nothing"}
			var refused *moqt.RequestError
			if _, err := relays[n-1].view(t, unknown, fromNow); !errors.As(err, &refused) || refused.Code != wire.RequestDoesNotExist {
				t.Errorf("a track nobody has: %v", err)
			}
			p.c.leave()
			for _, v := range viewers {
				v.c.leave()
			}
			wait(t, "all subscriptions to end", func() bool {
				return !slices.ContainsFunc(relays, func(r *server) bool { s := r.Stats(); return s.Subscribers > 0 || s.LiveTracks > 0 })
			})
		})
	}
}

// Namespaces come and go through a chain.
func TestChainNamespaces(t *testing.T) {
	origin := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	middle := edge(t, origin.upstream())
	e := edge(t, middle.upstream())
	c := e.dial(t, nil)
	sub, err := c.SubscribeNamespace(within(t, 10*time.Second), object.Namespace{"ec"}, moqt.SubscribeNamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	p := origin.dial(t, nil)
	ann, err := p.PublishNamespace(within(t, 10*time.Second), ts.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for _, done := range []bool{false, true} {
		ev, err := sub.Next(within(t, 10*time.Second))
		if err != nil || ev.Done != done || !slices.Equal(ev.Namespace, ts.Namespace) {
			t.Fatalf("%+v, %v", ev, err)
		}
		ann.Done()
	}
	// An upstream that is lost takes its namespaces along.
	if _, err := p.PublishNamespace(within(t, 10*time.Second), ts.Namespace); err != nil {
		t.Fatal(err)
	}
	if ev, err := sub.Next(within(t, 10*time.Second)); err != nil || ev.Done {
		t.Fatalf("%+v, %v", ev, err)
	}
	middle.stop()
	if ev, err := sub.Next(within(t, 20*time.Second)); err != nil || !ev.Done {
		t.Fatalf("%+v, %v", ev, err)
	}
}

func TestRoute(t *testing.T) {
	a, b := newRelayID(), newRelayID()
	ns := route{ns: ts.Namespace, live: true, path: []string{a, b}}.namespace()
	r, ok := parseRoute(ns)
	if !ok || !r.live || !slices.Equal(r.ns, ts.Namespace) || !slices.Equal(r.path, []string{a, b}) {
		t.Errorf("%v became %+v", ns, r)
	}
	for _, bad := range []object.Namespace{
		nil, {routesField}, {routesField, stateLive, a}, {routesField, "maybe", a, "x"}, {"x", stateLive, a, "x"},
		{routesField, stateLive, "", "x"}, {routesField, stateLive, "short", "x"}, {routesField, stateLive, a + "..", "x"},
		{routesField, stateLive, fmt.Sprintf("%[1]s.%[1]s.%[1]s.%[1]s.%[1]s.%[1]s.%[1]s.%[1]s.%[1]s", a), "x"},
	} {
		if r, ok := parseRoute(bad); ok {
			t.Errorf("%q became %+v", bad, r)
		}
	}
}

func TestAnswers(t *testing.T) {
	at := func(g, o uint64) moqt.Location { return moqt.Location{Group: g, Object: o} }
	var a answers
	a.add(span{at(5, 0), at(7, 0)})
	a.add(span{at(9, 2), at(9, 4)})
	a.add(span{at(1, 0), at(2, 0)})
	a.add(span{at(3, 0), at(3, 0)})
	if want := []span{{at(1, 0), at(2, 0)}, {at(5, 0), at(7, 0)}, {at(9, 2), at(9, 4)}}; !slices.Equal(a.spans, want) {
		t.Fatalf("%v", a.spans)
	}
	if got, want := a.without(span{at(1, 5), at(9, 3)}), []span{{at(2, 0), at(5, 0)}, {at(7, 0), at(9, 2)}}; !slices.Equal(got, want) {
		t.Errorf("without: %v", got)
	}
	a.add(span{at(6, 3), at(9, 2)}) // touches the last
	if want := []span{{at(1, 0), at(2, 0)}, {at(5, 0), at(9, 4)}}; !slices.Equal(a.spans, want) {
		t.Errorf("%v", a.spans)
	}
	if got := a.without(span{at(5, 1), at(9, 4)}); len(got) != 0 {
		t.Errorf("without: %v", got)
	}
}
