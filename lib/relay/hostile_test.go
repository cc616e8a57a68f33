package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// rogue is a relay that a test makes up: it tells routes, and answers as the test says. What the test does not say is refused.
type rogue struct {
	moqt.UnimplementedHandler
	id     string
	routes []object.Namespace // whole, with the field for routes
	fetch  func(ctx context.Context, r *moqt.FetchRequest)
	status func(ctx context.Context, r *moqt.TrackStatusRequest)
	subscr func(ctx context.Context, r *moqt.SubscribeRequest)
	then   func(a *moqt.NamespaceAnnouncer) // when the routes are told
}

// newRogue is one that says to have a track, live and stored.
func newRogue(name object.TrackName) *rogue {
	h := &rogue{id: newRelayID()}
	h.tells(name)
	return h
}

func (h *rogue) tells(name object.TrackName) {
	path := []string{h.id}
	h.routes = append(h.routes, route{name.Namespace, true, path}.namespace(), route{name.Namespace, false, path}.namespace(), trackRoute{name, path}.namespace())
}

func (h *rogue) SubscribeNamespace(ctx context.Context, r *moqt.SubscribeNamespaceRequest) {
	a, err := r.AcceptAny()
	if err != nil {
		return
	}
	for _, ns := range append([]object.Namespace{{routesField, stateRelay, h.id}}, h.routes...) {
		if a.Add(ns) != nil {
			return
		}
	}
	if h.then != nil {
		h.then(a)
	}
	<-ctx.Done()
}

func (h *rogue) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if h.fetch == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.fetch(ctx, r)
}

func (h *rogue) TrackStatus(ctx context.Context, r *moqt.TrackStatusRequest) {
	if h.status == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.status(ctx, r)
}

func (h *rogue) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	if h.subscr == nil {
		r.Reject(wire.RequestDoesNotExist, "not here")
		return
	}
	h.subscr(ctx, r)
}

// inMemoryUpstream is an upstream that is reached in memory.
func inMemoryUpstream(t testing.TB, name string, serve func(ctx context.Context, c moqt.Conn)) Upstream {
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); serving.Wait() })
	return Upstream{Relay: "moqt://" + name + ":1", Dial: func(ctx2 context.Context, _ string, _ *tls.Config, conf *moqt.Config) (*moqt.Session, error) {
		client, server := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18, MaxStreams: 1024, Window: 1 << 20})
		serving.Go(func() { serve(ctx, server) })
		s := moqt.NewClient(client, name, "/", conf)
		if err := s.Handshake(ctx2); err != nil {
			s.Close(wire.NoError, "")
			return nil, err
		}
		return s, nil
	}}
}

// upstream is how a relay reaches the rogue.
func (h *rogue) upstream(t testing.TB) Upstream {
	return inMemoryUpstream(t, "rogue", func(ctx context.Context, c moqt.Conn) { moqt.NewServer(c, &moqt.Config{Handler: h}).Run(ctx) })
}

// pipeUpstream is how a relay in memory is reached by another one.
func (s *server) pipeUpstream(t testing.TB) Upstream {
	return inMemoryUpstream(t, "good", func(ctx context.Context, c moqt.Conn) { s.serve(ctx, moqt.NewServer(c, nil)) })
}

// beside is a relay in memory with a rogue and a relay that has what is wanted as its upstreams, the rogue first.
func beside(t *testing.T, h *rogue, c Config, ts object.TrackName, groups ...uint64) (r, good *server) {
	t.Helper()
	good = start(t, t.TempDir(), pipe, Config{}, store.Config{})
	p := good.publisher(t, ts)
	for _, g := range groups {
		p.group(g)
	}
	good.stored(t, int64(len(groups))*(parts+1))
	p.c.leave()
	synctest.Wait()
	c.Upstreams = []Upstream{h.upstream(t), good.pipeUpstream(t)}
	r = start(t, t.TempDir(), pipe, c, store.Config{})
	synctest.Wait()
	return r, good
}

// accepts begins the answer to a FETCH.
func accepts(t *testing.T, r *moqt.FetchRequest) *moqt.FetchWriter {
	w, err := r.Accept(moqt.FetchInfo{End: r.End})
	if err != nil {
		t.Error(err)
	}
	return w
}

// trickle writes a group at so many bytes a second.
func trickle(t *testing.T, r *moqt.FetchRequest, group uint64, rate int) {
	w := accepts(t, r)
	defer w.Close()
	for id := range uint64(parts) {
		o := part(group, id)
		if w.WriteObjectHeader(moqt.FetchObject{Group: group, ID: id, Priority: moqt.DefaultPriority, Properties: o.Properties, Size: uint64(len(o.Payload))}) != nil {
			return
		}
		for b := o.Payload; len(b) > 0; b = b[min(rate, len(b)):] {
			if _, err := w.Write(b[:min(rate, len(b))]); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
}

// stalls are the ways in which a FETCH is not answered.
var stalls = map[string]func(t *testing.T, ctx context.Context, r *moqt.FetchRequest){
	"no answer": func(_ *testing.T, ctx context.Context, _ *moqt.FetchRequest) { <-ctx.Done() },
	"no object": func(t *testing.T, ctx context.Context, r *moqt.FetchRequest) {
		accepts(t, r)
		<-ctx.Done()
	},
	"half an object": func(t *testing.T, ctx context.Context, r *moqt.FetchRequest) {
		w := accepts(t, r)
		w.WriteObjectHeader(moqt.FetchObject{Group: r.Start.Group, Size: 1000})
		w.Write(make([]byte, 500))
		<-ctx.Done()
	},
	"a byte a second":     func(t *testing.T, _ context.Context, r *moqt.FetchRequest) { trickle(t, r, 5000, 1) },
	"a kilobyte a second": func(t *testing.T, _ context.Context, r *moqt.FetchRequest) { trickle(t, r, 5000, 1000) },
	"a lie":               func(t *testing.T, _ context.Context, r *moqt.FetchRequest) { accepts(t, r).Close() },
	"much that is not": func(t *testing.T, _ context.Context, r *moqt.FetchRequest) {
		w := accepts(t, r)
		w.WriteObject(moqt.FetchObject{Kind: moqt.FetchedNonExistent, Group: 1 << 50, ID: object.MaxVarint}, nil)
		w.Close()
	},
	"other groups": func(t *testing.T, _ context.Context, r *moqt.FetchRequest) {
		w := accepts(t, r)
		w.WriteObject(moqt.FetchObject{Group: r.Start.Group + 1<<40, ID: 7}, []byte("x"))
		w.Close()
	},
}

// A peer that answers no FETCH, or not on, or with what is not so, keeps neither a mirror nor a viewer from what another has.
func TestStalledFetch(t *testing.T) {
	for name, stall := range stalls {
		t.Run("mirror, "+name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				h := newRogue(ts)
				h.fetch = func(ctx context.Context, r *moqt.FetchRequest) { stall(t, ctx, r) }
				began := time.Now()
				m, _ := beside(t, h, Config{Mirror: []object.Namespace{{"ec"}}}, ts, 1, 2, 1000, 5000)
				m.holds(t, ts, 1, 2, 1000, 5000)
				if d := time.Since(began); d > 3*answerPatience {
					t.Errorf("a whole copy after %v", d)
				}
			})
		})
		t.Run("viewer, "+name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				h := newRogue(ts)
				h.fetch = func(ctx context.Context, r *moqt.FetchRequest) { stall(t, ctx, r) }
				r, good := beside(t, h, Config{}, ts, 1, 2, 1000, 5000)
				began := time.Now()
				if got, want := r.fetchAll(t, ts, moqt.Location{}), good.fetchAll(t, ts, moqt.Location{}); !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				if d := time.Since(began); d > 3*answerPatience {
					t.Errorf("answered after %v", d)
				}
			})
		})
	}
}

// A slow upstream that nobody can replace goes on.
func TestSlowFetchGoesOn(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		h.fetch = func(_ context.Context, r *moqt.FetchRequest) {
			if r.Track.Namespace[0] == mesh.InventoryField {
				w := accepts(t, r)
				w.WriteObject(moqt.FetchObject{Group: r.Start.Group}, mesh.AppendInventory(nil, []mesh.Group{{ID: 7, Whole: true}}))
				w.Close()
				return
			}
			trickle(t, r, 7, 2000)
		}
		began := time.Now()
		m := start(t, t.TempDir(), pipe, Config{Mirror: []object.Namespace{{"ec"}}, Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
		m.holds(t, ts, 7)
		if d := time.Since(began); d < 3*answerPatience {
			t.Errorf("was not slow: %v", d)
		}
	})
}

// A peer that answers neither SUBSCRIBE nor TRACK_STATUS delays a viewer of what another has by no more than its patience, and the next
// one not at all.
func TestUnansweredRequests(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		h.subscr = func(ctx context.Context, _ *moqt.SubscribeRequest) { <-ctx.Done() }
		h.status = func(ctx context.Context, _ *moqt.TrackStatusRequest) { <-ctx.Done() }
		r, good := beside(t, h, Config{}, ts, 1, 2)
		p := good.publisher(t, ts)
		p.group(3)
		good.stored(t, 3*(parts+1))
		synctest.Wait()
		for _, limit := range []time.Duration{answerPatience, time.Second} {
			began := time.Now()
			c := r.dial(t, nil)
			if _, err := c.TrackStatus(within(t, time.Minute), ts); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > limit {
				t.Errorf("TRACK_STATUS answered after %v", d)
			}
			v := r.viewer(t, ts, from(1))
			v.whole(3)
			if d := time.Since(began); d > limit+time.Second {
				t.Errorf("the past came after %v", d)
			}
			time.Sleep(answerPatience + time.Second) // by then it is known
		}
	})
}

// A peer that tells of very many tracks and namespaces that it has not delays nobody else's, and is heard up to a bound.
func TestManyInventedTracks(t *testing.T) {
	t.Parallel()
	h := newRogue(otherTrack)
	most := 50_000
	if testing.Short() {
		most = 10_000
	}
	for i := range most {
		n := object.TrackName{Namespace: object.Namespace{"ec", "invented", fmt.Sprint(i)}, Name: "ts"}
		r := object.Namespace(trackRoute{n, []string{h.id}}.namespace())
		if i%4 == 0 { // a session is told of 65,536 at most
			h.routes = append(h.routes, route{n.Namespace, true, []string{h.id}}.namespace())
		}
		h.routes = append(h.routes, r)
	}
	good := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	good.publisher(t, ts).group(1)
	began := time.Now()
	m := start(t, t.TempDir(), pipe, Config{Mirror: []object.Namespace{{"ec"}}, Upstreams: []Upstream{h.upstream(t), good.pipeUpstream(t)}}, store.Config{})
	m.holds(t, ts, 1)
	t.Logf("what was there is mirrored after %v", time.Since(began))
	for i := range 3 {
		began = time.Now()
		name := object.TrackName{Namespace: object.Namespace{"ec", "new", fmt.Sprint(i)}, Name: "ts"}
		good.publisher(t, name).group(1)
		m.holds(t, name, 1)
		d := time.Since(began)
		t.Logf("what is new is mirrored after %v", d)
		if d > time.Minute { // a second or two, where nothing else runs
			t.Errorf("what is new is mirrored after %v", d)
		}
	}
}

// What a peer told of and tells of no more, and never had, takes no memory.
func TestInventedTracksAreForgotten(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(otherTrack)
		h.then = func(a *moqt.NamespaceAnnouncer) {
			for round := range 10 {
				var told []object.Namespace
				for i := range 200 {
					n := object.TrackName{Namespace: object.Namespace{"ec", "invented"}, Name: fmt.Sprintf("%d-%d", round, i)}
					told = append(told, trackRoute{n, []string{h.id}}.namespace())
				}
				for _, ns := range told {
					a.Add(ns)
				}
				time.Sleep(10 * time.Second)
				for _, ns := range told {
					a.Remove(ns)
				}
			}
		}
		m, _ := beside(t, h, Config{Mirror: []object.Namespace{{"ec"}}}, ts, 1)
		tracks := func() (n int) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.tracks)
		}
		time.Sleep(15 * time.Second)
		if n := tracks(); n < 200 {
			t.Errorf("%d tracks while they are told of", n)
		}
		time.Sleep(10 * time.Minute)
		runtime.GC()
		time.Sleep(2 * forgetAfter)
		m.mu.Lock()
		n, idle, demands := len(m.tracks), len(m.idle), len(m.demands)
		m.mu.Unlock()
		if n > 2 || idle > 20 || demands > 2 {
			t.Errorf("%d tracks, %d idle, %d demands are left", n, idle, demands)
		}
		m.holds(t, ts, 1)
	})
}

// A ticket for any number makes no more peers than a relay can bear.
func TestManyPeers(t *testing.T) {
	r := home(t, "127.0.0.1:0", gate(true))
	u := r.peer()
	u.TLS = insecure
	var ups []Upstream
	for range maxPeers + 3 {
		ups = append(ups, u)
	}
	start(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: ups}, store.Config{})
	wait(t, "them all", func() bool { return r.Stats().Sessions == maxPeers+3 })
	wait(t, "as many peers as may be", func() bool {
		n := 0
		for _, p := range r.peers() {
			if p.Role == "peer" {
				n++
			}
		}
		return n == maxPeers
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.upstreams) != maxPeers {
		t.Errorf("%d upstreams", len(r.upstreams))
	}
}

// TestMirrorWithoutFolder: a mirror that cannot write, because the folder is read-only or gone, pauses and says so, while what is live is
// seen; it goes on when it can. A whole group that somebody removed comes again once somebody missed it.
func TestMirrorWithoutFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	for name, broken := range map[string]func(t *testing.T, dir string) (heal func()){
		"read-only": func(t *testing.T, dir string) func() {
			groups := filepath.Join(dir, "groups")
			if err := errors.Join(syscall.Mount(groups, groups, "", syscall.MS_BIND, ""), syscall.Mount("", groups, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := syscall.Unmount(groups, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}
		},
		"away": func(t *testing.T, dir string) func() {
			groups := filepath.Join(dir, "groups") // another disk is in the place of the one that was mounted there
			if err := syscall.Mount("tmpfs", groups, "tmpfs", 0, "size=1m"); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := syscall.Unmount(groups, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				dir := t.TempDir()
				if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
					t.Skipf("no tmpfs: %v", err)
				}
				t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
				good := start(t, t.TempDir(), pipe, Config{}, store.Config{})
				p := good.publisher(t, ts)
				p.group(1)
				m := start(t, dir, pipe, Config{Mirror: []object.Namespace{{"ec"}}, Upstreams: []Upstream{good.pipeUpstream(t)}}, store.Config{})
				m.holds(t, ts, 1)
				wait(t, "the link", func() bool { return m.Stats().LiveTracks == 1 })
				if err := m.store.Flush(); err != nil {
					t.Fatal(err)
				}
				v := m.viewer(t, ts, fromNow)
				heal := broken(t, dir)
				for g := range uint64(5) {
					p.group(10 + g)
				}
				v.whole(5)
				wait(t, "the pause", func() bool { return m.relays(nil).Mirror.Paused != "" })
				time.Sleep(2 * time.Minute)
				if got := m.relays(nil).Mirror; got.Paused == "" || got.Missing != 5 {
					t.Errorf("%v", got)
				}
				heal()
				time.Sleep(2 * time.Minute)
				m.holds(t, ts, 1, 10, 11, 12, 13, 14)
				wait(t, "word of it", func() bool { p := m.relays(nil).Mirror; return p.Paused == "" && p.Missing == 0 })
				if err := m.store.Flush(); err != nil {
					t.Fatal(err)
				}
				files, err := filepath.Glob(filepath.Join(dir, "groups", "*", "*", "*", "12.eco"))
				if err != nil || len(files) != 1 || os.Remove(files[0]) != nil {
					t.Fatalf("%v, %v", files, err)
				}
				if got := m.fetchAll(t, ts, moqt.Location{}); len(got) != 5 && len(got) != 6 {
					t.Errorf("fetched %v", got)
				}
				m.holds(t, ts, 1, 10, 11, 12, 13, 14)
			})
		})
	}
}

// An upstream or a publisher that does not tell how far a track goes, as moq-relay, may have it all the same: who asks here is told so, and
// not that it does not exist.
func TestUntoldTrackStatus(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
		synctest.Wait()
		for _, code := range []wire.RequestCode{wire.RequestNotSupported, wire.RequestDoesNotExist} {
			h.status = func(_ context.Context, r *moqt.TrackStatusRequest) { r.Reject(code, "") }
			_, err := r.dial(t, nil).TrackStatus(within(t, time.Minute), ts)
			if refusal, ok := errors.AsType[*moqt.RequestError](err); !ok || refusal.Code != code {
				t.Errorf("an upstream says %v, the relay %v", code, err)
			}
		}

		r = start(t, t.TempDir(), pipe, Config{}, store.Config{})
		for _, code := range []wire.RequestCode{wire.RequestDoesNotExist, wire.RequestNotSupported} {
			h.status = func(_ context.Context, r *moqt.TrackStatusRequest) { r.Reject(code, "") }
			p := r.dial(t, h)
			if _, err := p.PublishNamespace(within(t, time.Minute), ts.Namespace); err != nil {
				t.Fatal(err)
			}
			_, err := r.dial(t, nil).TrackStatus(within(t, time.Minute), ts)
			if refusal, ok := errors.AsType[*moqt.RequestError](err); !ok || refusal.Code != code {
				t.Errorf("a publisher says %v, the relay %v", code, err)
			}
			p.leave()
			synctest.Wait()
		}
	})
}

// TestMirrorOnFullDisk: a mirror whose disk is full pauses and says so, loses nothing of what it has, and goes on when there is room. It
// takes root.
func TestMirrorOnFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	inMemory(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
			t.Skipf("no tmpfs: %v", err)
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
		good := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := good.publisher(t, ts)
		const groups = 60 // of 70 KB
		for g := range uint64(groups) {
			p.group(g + 1)
		}
		good.stored(t, groups*(parts+1))
		// As ec-relay --retain 48h --mirror ec has it, with others' groups that may go.
		retention := store.Config{MaxAge: 48 * time.Hour, Rules: []store.Rule{{Prefix: object.Namespace{"ec"}}}}
		m := start(t, dir, pipe, Config{Mirror: []object.Namespace{{"ec"}}, Upstreams: []Upstream{good.pipeUpstream(t)}}, retention)
		progress := func() *mesh.Progress { return m.relays(nil).Mirror }
		held := func() (ids []uint64) {
			for _, i := range m.store.Track(ts).Groups(0, object.MaxVarint) {
				if i.Complete {
					ids = append(ids, i.Group)
				}
			}
			return ids
		}
		wait(t, "the pause", func() bool { return progress().Paused != "" })
		wait(t, "the link", func() bool { return m.Stats().LiveTracks == 1 })
		p.group(groups + 1) // what is live has room left
		time.Sleep(5 * time.Minute)
		ids := held()
		if n := len(ids); n < 10 || n >= groups || ids[n-1] != groups+1 || ids[n-10] != groups-8 { // a batch may be there in part
			t.Errorf("the newest are not there: %v", ids)
		}
		if got := progress(); got.Paused == "" || got.Missing < 1 || int(got.Missing)+len(ids) < groups || int(got.Brought) > len(ids) || m.store.Stats().Removed != 0 {
			t.Errorf("%v, removed %d, %d are there", got, m.store.Stats().Removed, len(ids))
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=32m"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		wait(t, "the rest", func() bool { return len(held()) == groups+1 })
		wait(t, "word of it", func() bool { p := progress(); return p.Paused == "" && p.Missing == 0 })
	})
}

// A peer that is nearest to a track, by its own word, accepts a subscription and brings nothing keeps nobody from the real one behind
// another peer.
func TestSilentLink(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		origin := start(t, t.TempDir(), pipe, Config{}, store.Config{})
		p := origin.publisher(t, ts)
		p.group(1)
		middle := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{origin.pipeUpstream(t)}}, store.Config{})
		h := newRogue(ts)
		h.subscr = func(ctx context.Context, r *moqt.SubscribeRequest) {
			if pub, err := r.Accept(moqt.TrackInfo{}); err == nil {
				<-pub.Context().Done()
			}
		}
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t), middle.pipeUpstream(t)}}, store.Config{})
		synctest.Wait()
		v := r.viewer(t, ts, fromNow)
		for g := range uint64(30) {
			time.Sleep(time.Second)
			p.group(2 + g)
		}
		synctest.Wait()
		if n := v.count(isWhole); n < 15 {
			t.Errorf("%d groups of 30 seconds came", n)
		}
	})
}

// A peer that says a track to be far beyond where it is hides nothing of what another brings.
func TestInventedLargest(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		far := moqt.TrackInfo{Largest: &moqt.Location{Group: 1 << 60}}
		h := newRogue(ts)
		h.status = func(_ context.Context, r *moqt.TrackStatusRequest) { r.Accept(far) }
		h.subscr = func(ctx context.Context, r *moqt.SubscribeRequest) {
			if pub, err := r.Accept(far); err == nil {
				<-pub.Context().Done()
			}
		}
		r, good := beside(t, h, Config{}, ts, 1, 2)
		p := good.publisher(t, ts)
		p.group(3)
		synctest.Wait()
		viewers := []*viewer{r.viewer(t, ts, fromNow), r.viewer(t, ts, moqt.SubscribeOptions{}), r.viewer(t, ts, from(1))}
		synctest.Wait()
		for g := range uint64(5) {
			p.group(4 + g)
			time.Sleep(time.Second)
		}
		viewers = append(viewers, r.viewer(t, ts, fromNow))
		synctest.Wait()
		for g := range uint64(5) {
			p.group(9 + g)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for i, want := range []int{10, 10, 13, 5} {
			if n := viewers[i].count(isWhole); n != want {
				t.Errorf("viewer %d has %d groups, want %d", i, n, want)
			}
		}
	})
}

// Whoever tells the id of another relay hides nothing of it: an id without a proof is a word.
func TestToldIDHidesNobody(t *testing.T) {
	good := home(t, "127.0.0.1:0", gate(true))
	p := good.publisher(t, ts)
	p.group(1)
	h := newRogue(otherTrack)
	h.id = good.id
	h.tells(ts)
	r := home(t, "127.0.0.1:0", gate(true), h.upstream(t), good.peer())
	wait(t, "both", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !slices.ContainsFunc(r.upstreams, func(u *upstream) bool { return u.id != good.id || len(u.routes) == 0 })
	})
	v := r.viewer(t, ts, from(1))
	p.group(2)
	v.whole(2)
}
