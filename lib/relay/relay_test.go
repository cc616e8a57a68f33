package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("EC_TEST_RELAY"); dir != "" {
		serveForEver(dir, os.Getenv("EC_TEST_ADDR"))
		return
	}
	goleak.VerifyTestMain(m)
}

var ts = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}

const parts = 5 // objects of a group before its end

// part is a pure function of its arguments: every home makes the same.
func part(group, id uint64) *object.Object {
	if id == parts {
		return &object.Object{Group: group, ID: id, Status: object.EndOfGroup}
	}
	n := 400 + int(id)
	if id == 2 {
		n = 16000 // forwarded while it arrives, if it does not come at once
	}
	payload := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", group, id)), n)
	return &object.Object{Group: group, ID: id, Payload: payload,
		Properties: object.Properties{PTS: group, HasPTS: true, Hash: object.Sum(payload), HasHash: true}.Append(nil)}
}

type server struct {
	*Relay
	dir     string
	addr    string
	tls     *tls.Config
	keys    *keys.Certificates
	show    []moqt.Token // of its clients
	stop    func()
	connect func() *moqt.Session // in memory; else nil
}

// inMemory runs a test in a bubble whose clock moves only when nobody has anything to do: what is waited for a while does not
// depend on how busy the machine is.
func inMemory(t *testing.T, test func(t *testing.T)) {
	t.Run("in memory", func(t *testing.T) { synctest.Test(t, test) })
}

// pipe is the address of a relay that is reached in memory.
const pipe = "pipe"

// start runs a relay on a store until stop or the end of the test.
func start(t testing.TB, dir, addr string, c Config, sc store.Config) *server {
	t.Helper()
	return startWith(t, dir, addr, c, sc, nil)
}

func startWith(t testing.TB, dir, addr string, c Config, sc store.Config, sessions *moqt.Config) *server {
	t.Helper()
	return startAt(t, time.Now, dir, addr, c, sc, sessions)
}

// startAt runs a relay whose certificates go by a clock of the test's.
func startAt(t testing.TB, now func() time.Time, dir, addr string, c Config, sc store.Config, sessions *moqt.Config) *server {
	t.Helper()
	st, err := store.Open(dir, sc)
	if err != nil {
		t.Fatal(err)
	}
	c.Store = st
	addr, web := strings.CutPrefix(addr, "https://")
	if addr == "127.0.0.1:0" {
		addr = loopback.Address(t) // which a relay that is killed finds again
	}
	if testing.Verbose() {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Millisecond
	}
	r := New(c)
	s := &server{Relay: r, dir: dir}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { st.Run(ctx) })
	closed := func() {}
	if addr == pipe {
		s.connect = func() *moqt.Session {
			c, sc := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft16})
			wg.Go(func() { r.serve(ctx, moqt.NewServer(sc, sessions)) })
			return moqt.NewClient(c, "relay", "/", nil)
		}
		wg.Go(func() { r.Serve(ctx) }) // upstreams
	} else {
		if s.keys, err = keys.Open(keys.Config{Dir: dir, Now: now}); err != nil {
			t.Fatal(err)
		}
		var l moqt.SessionListener
		l, err = moqt.Listen(addr, s.keys.TLS(), sessions)
		if err != nil {
			t.Fatal(err)
		}
		if s.tls, err = moqt.PinFingerprint(s.keys.Pin().String()); err != nil {
			t.Fatal(err)
		}
		if s.addr, closed = l.Addr().String(), func() { l.Close() }; web {
			s.addr = "https://" + s.addr
		}
		wg.Go(func() {
			if err := r.Serve(ctx, l); err != nil {
				t.Error(err)
			}
		})
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		closed()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// client is a session with the relay.
type client struct {
	*moqt.Session
	leave func()
}

func (s *server) dial(t testing.TB, h moqt.Handler) *client {
	return s.dialWith(t, &moqt.Config{Handler: h})
}

func (s *server) dialWith(t testing.TB, conf *moqt.Config) *client {
	t.Helper()
	var ms *moqt.Session
	if s.connect != nil {
		ms = s.connect()
		if conf.Handler != nil {
			ms.Handle(conf.Handler)
		}
	} else {
		var err error
		if conf.Tokens == nil {
			conf.Tokens = s.show
		}
		if ms, err = moqt.Dial(within(t, time.Minute), s.url(), s.tls, conf); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() { ms.Run(context.Background()); close(done) }()
	c := &client{ms, sync.OnceFunc(func() { ms.Close(wire.NoError, ""); <-done })}
	t.Cleanup(c.leave)
	return c
}

// listenAt is an address for start, at which the sessions of a test run over a transport. With https:// they use WebTransport.
func listenAt(t testing.TB, scheme string) string {
	switch scheme {
	case "moqt":
		return "127.0.0.1:0"
	case "unix":
		return "unix://" + filepath.Join(t.TempDir(), "relay")
	}
	return scheme + "://127.0.0.1:0"
}

// url is how the sessions of a test reach the relay.
func (s *server) url() string {
	if strings.Contains(s.addr, "://") {
		return s.addr
	}
	return "moqt://" + s.addr
}

// publisher publishes one track.
type publisher struct {
	t   testing.TB
	c   *client
	pub *moqt.Publication
	w   *moqt.SubgroupWriter
}

func (s *server) publisher(t testing.TB, name object.TrackName) *publisher {
	t.Helper()
	c := s.dial(t, nil)
	pub, err := c.Publish(within(t, time.Minute), name, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{t: t, c: c, pub: pub}
}

// put sends one object; object 0 opens a stream and the end of group closes it.
func (p *publisher) put(o *object.Object) {
	p.t.Helper()
	var err error
	if p.w == nil {
		p.w, err = p.pub.OpenSubgroup(within(p.t, time.Minute), moqt.SubgroupHeader{Group: o.Group, HasProperties: true})
		if err != nil {
			p.t.Error(err)
			return
		}
	}
	if err := p.w.WriteObject(o.ID, o.Properties, moqt.ObjectStatus(o.Status), o.Payload); err != nil {
		p.t.Error(err)
		return
	}
	if o.Status == object.EndOfGroup {
		if err := p.w.Close(); err != nil {
			p.t.Error(err)
			return
		}
		p.w = nil
	}
}

func (p *publisher) group(id uint64) {
	p.t.Helper()
	for i := range uint64(parts + 1) {
		p.put(part(id, i))
	}
}

// wait waits for a condition.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond) // polls counters, which have no event
	}
}

func (s *server) stored(t testing.TB, objects int64) {
	t.Helper()
	wait(t, fmt.Sprintf("%d objects stored", objects), func() bool { return s.store.Stats().Stored >= objects })
}

// received is what a subscriber got of one group.
type received struct {
	ids []uint64
	fin bool
	err error
}

// viewer collects everything a subscription brings and checks that it is what was published.
type viewer struct {
	t   testing.TB
	c   *client
	sub *moqt.Subscription
	mu  sync.Mutex
	got map[uint64]*received
	end error
	wg  sync.WaitGroup
}

func (s *server) viewer(t testing.TB, name object.TrackName, o moqt.SubscribeOptions) *viewer {
	t.Helper()
	v, err := s.view(t, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *server) view(t testing.TB, name object.TrackName, o moqt.SubscribeOptions) (*viewer, error) {
	c := s.dial(t, nil)
	sub, err := c.Subscribe(within(t, time.Minute), name, o)
	if err != nil {
		return nil, err
	}
	v := &viewer{t: t, c: c, sub: sub, got: make(map[uint64]*received)}
	v.wg.Go(v.run)
	t.Cleanup(func() { c.leave(); v.wg.Wait() })
	return v, nil
}

func (v *viewer) run() {
	for {
		r, err := v.sub.AcceptSubgroup(context.Background())
		if err != nil {
			v.mu.Lock()
			v.end = err
			v.mu.Unlock()
			return
		}
		v.wg.Go(func() { v.read(r) })
	}
}

func (v *viewer) read(r *moqt.SubgroupReader) {
	g := r.Header().Group
	v.mu.Lock()
	if v.got[g] != nil {
		v.t.Errorf("group %d came on two streams", g)
	}
	rec := &received{}
	v.got[g] = rec
	v.mu.Unlock()
	for {
		h, err := r.Next()
		var b []byte
		if err == nil {
			b, err = io.ReadAll(r)
		}
		v.mu.Lock()
		if err != nil {
			rec.fin, rec.err = err == io.EOF, err
			v.mu.Unlock()
			return
		}
		want := part(g, h.ID)
		if !bytes.Equal(b, want.Payload) || !bytes.Equal(h.Properties, want.Properties) || object.Status(h.Status) != want.Status {
			v.t.Errorf("object %d/%d is not what was published", g, h.ID)
		}
		if n := len(rec.ids); n > 0 && rec.ids[n-1] >= h.ID {
			v.t.Errorf("object %d/%d after %d", g, h.ID, rec.ids[n-1])
		}
		rec.ids = append(rec.ids, h.ID)
		v.mu.Unlock()
	}
}

func (v *viewer) count(ok func(*received) bool) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.got {
		if ok(r) {
			n++
		}
	}
	return n
}

var allIDs = []uint64{0, 1, 2, 3, 4, 5}

func isWhole(r *received) bool { return r.fin && slices.Equal(r.ids, allIDs) }

func (v *viewer) whole(groups int) {
	v.t.Helper()
	wait(v.t, fmt.Sprintf("%d whole groups", groups), func() bool { return v.count(isWhole) >= groups })
}

func from(group uint64) moqt.SubscribeOptions {
	return moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterAbsoluteStart, Start: moqt.Location{Group: group}}}
}

var fromNow = moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterLargestObject}}

// fetchAll returns ids by group of everything from start on.
func (s *server) fetchAll(t testing.TB, name object.TrackName, start moqt.Location) map[uint64][]uint64 {
	t.Helper()
	c := s.dial(t, nil)
	defer c.leave()
	r, err := c.Fetch(within(t, time.Minute), name, start, moqt.Location{Group: object.MaxVarint}, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[uint64][]uint64)
	for {
		o, err := r.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if o.Kind != moqt.FetchedObject {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if want := part(o.Group, o.ID); !bytes.Equal(b, want.Payload) || !bytes.Equal(o.Properties, want.Properties) {
			t.Fatalf("object %d/%d is not what was published", o.Group, o.ID)
		}
		got[o.Group] = append(got[o.Group], o.ID)
	}
}

func TestLiveReplayAndFetch(t *testing.T) { testLiveReplayAndFetch(t, "moqt") }

func testLiveReplayAndFetch(t *testing.T, over string) {
	s := start(t, t.TempDir(), listenAt(t, over), Config{}, store.Config{})
	p := s.publisher(t, ts)
	p.group(100)
	p.put(part(101, 0))
	s.stored(t, parts+2)
	v := s.viewer(t, ts, fromNow)
	if l := v.sub.Info().Largest; l == nil || *l != (moqt.Location{Group: 101}) {
		t.Fatalf("largest is %v", l)
	}
	for id := range uint64(parts) {
		p.put(part(101, id+1))
	}
	for g := range uint64(10) {
		p.group(102 + g)
	}
	v.whole(10)
	wait(t, "the rest of a group", func() bool { return v.count(func(r *received) bool { return r.fin }) == 11 })
	v.mu.Lock()
	if r := v.got[101]; r == nil || !slices.Equal(r.ids, allIDs[1:]) || v.got[100] != nil {
		t.Errorf("live subscriber got %+v", v.got[101])
	}
	v.mu.Unlock()
	s.viewer(t, ts, from(0)).whole(12)
	s.viewer(t, ts, from(105)).whole(7)

	got := s.fetchAll(t, ts, moqt.Location{})
	if len(got) != 12 {
		t.Errorf("fetched %d groups", len(got))
	}
	for g, ids := range got {
		if !slices.Equal(ids, allIDs[:parts]) {
			t.Errorf("group %d: %v", g, ids)
		}
	}
	if got := s.fetchAll(t, ts, moqt.Location{Group: 110, Object: 3}); len(got) != 2 || !slices.Equal(got[110], []uint64{3, 4}) {
		t.Errorf("fetched %v", got)
	}
}

func TestRangeEnds(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	for g := range uint64(6) {
		p.group(g)
	}
	s.stored(t, 6*(parts+1))
	v := s.viewer(t, ts, moqt.SubscribeOptions{Filter: moqt.Filter{Type: wire.FilterAbsoluteRange, Start: moqt.Location{Group: 1}, EndGroup: 3}})
	wait(t, "the end", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.end != nil })
	v.whole(3) // streams may be read to their end after that of the subscription
	if n := v.count(isWhole); n != 3 || !errors.Is(v.end, io.EOF) {
		t.Errorf("%d groups, then %v", n, v.end)
	}
}

func TestJoiningFetch(t *testing.T) { testJoiningFetch(t, "moqt") }

func testJoiningFetch(t *testing.T, over string) {
	s := start(t, t.TempDir(), listenAt(t, over), Config{}, store.Config{})
	p := s.publisher(t, ts)
	for g := range uint64(3) {
		p.group(g)
	}
	p.put(part(3, 0))
	p.put(part(3, 1))
	s.stored(t, 3*(parts+1)+2)
	v := s.viewer(t, ts, fromNow)
	r, err := v.c.FetchRelative(within(t, time.Minute), v.sub, 1, moqt.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		o, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind == moqt.FetchedObject {
			got = append(got, fmt.Sprintf("%d/%d", o.Group, o.ID))
		}
	}
	if want := []string{"2/0", "2/1", "2/2", "2/3", "2/4", "3/0", "3/1"}; !slices.Equal(got, want) {
		t.Errorf("fetched %v", got)
	}
	p.put(part(3, 2))
	wait(t, "object 2", func() bool {
		return v.count(func(r *received) bool { return slices.Equal(r.ids, []uint64{2}) }) == 1
	})
}

// Two homes publish one broadcast; one dies in the middle of a group. The viewer sees every object once.
func TestTwoPublishersOneDies(t *testing.T) { testTwoPublishersOneDies(t, "moqt") }

func testTwoPublishersOneDies(t *testing.T, over string) {
	s := start(t, t.TempDir(), listenAt(t, over), Config{StallWait: time.Minute}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.group(0)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	var wg sync.WaitGroup
	for _, p := range []*publisher{a, b} {
		wg.Go(func() {
			for g := uint64(1); g < 20; g++ {
				if p == a && g == 10 {
					p.put(part(g, 0))
					p.put(part(g, 1))
					return
				}
				p.group(g)
			}
		})
	}
	wg.Wait()
	a.c.leave() // and its stream of group 10 with it
	for g := uint64(20); g < 30; g++ {
		b.group(g)
	}
	v.whole(30)
	if n := v.count(func(r *received) bool { return true }); n != 30 {
		t.Errorf("%d groups came", n)
	}
	st := s.Stats()
	if st.Conflicts != 0 || st.ResetIncomplete != 0 || st.Duplicates == 0 || st.Objects != 30*(parts+1) {
		t.Errorf("%+v", st)
	}
}

func TestLatePublisherContinuesDeadOnesGroup(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a := s.publisher(t, ts)
	a.put(part(1, 0))
	a.put(part(1, 1))
	s.stored(t, 2)
	v := s.viewer(t, ts, from(0))
	wait(t, "two objects", func() bool { return v.count(func(r *received) bool { return len(r.ids) == 2 }) == 1 })
	a.c.leave()
	wait(t, "its end", func() bool { return s.Stats().LiveTracks == 0 })
	b := s.publisher(t, ts)
	b.group(1)
	v.whole(1)
	b.c.leave() // clean exit: the subscription stays
	s.publisher(t, ts).group(2)
	v.whole(2)
	if v.end != nil {
		t.Errorf("the subscription ended: %v", v.end)
	}
}

func TestConflictAndBadHash(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	a, b := s.publisher(t, ts), s.publisher(t, ts)
	a.group(1)
	s.stored(t, parts+1)
	lie := part(1, 0)
	lie.Payload = []byte("not what the hash says")
	b.put(lie)
	b.put(part(1, 1)) // the rest of that stream is still welcome
	wait(t, "corroboration", func() bool { return s.Stats().Duplicates == 1 })
	other := part(1, 2)
	other.Payload = []byte("something else")
	other.Properties = object.Properties{Hash: object.Sum(other.Payload), HasHash: true}.Append(nil)
	b.put(other)
	wait(t, "refusals", func() bool { st := s.Stats(); return st.Conflicts == 1 && st.Refused == 1 })
	// Nothing more is taken of a group that is another one, and its publisher hears of it.
	id := uint64(2)
	wait(t, "the publisher's stream to end", func() bool {
		id++
		err := b.w.WriteObject(id, nil, 0, []byte("more"))
		reset, ok := errors.AsType[*moqt.StreamResetError](err)
		if ok && (!reset.Remote || reset.Code != wire.ResetMalformedTrack) {
			t.Errorf("stream ended with %v", err)
		}
		return ok
	})
	b.w = nil
	b.group(2)
	s.viewer(t, ts, from(0)).whole(2)
}

func TestIncompleteGroupIsResetAndLiveGoesOn(t *testing.T) { inMemory(t, testIncompleteGroup) }

func testIncompleteGroup(t *testing.T) {
	s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
	a := s.publisher(t, ts)
	a.group(1)
	s.stored(t, parts+1)
	v := s.viewer(t, ts, from(0))
	a.put(part(2, 0))
	a.put(part(2, 1))
	wait(t, "two objects", func() bool { return v.count(func(r *received) bool { return len(r.ids) == 2 }) == 1 })
	a.w = nil // abandoned without FIN
	a.group(3)
	a.group(4)
	wait(t, "a reset", func() bool { return v.count(func(r *received) bool { return r.err != nil && !r.fin }) == 1 })
	v.whole(3)
	v.mu.Lock()
	defer v.mu.Unlock()
	var reset *moqt.StreamResetError
	if r := v.got[2]; !errors.As(r.err, &reset) || !slices.Equal(r.ids, []uint64{0, 1}) {
		t.Errorf("group 2: %+v", r)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	for g := range uint64(5) {
		p.group(g)
	}
	p.put(part(5, 0))
	s.stored(t, 5*(parts+1)+1)
	s.stop()
	s = start(t, dir, "127.0.0.1:0", Config{}, store.Config{})
	if got := s.fetchAll(t, ts, moqt.Location{}); len(got) != 6 || len(got[5]) != 1 {
		t.Errorf("fetched %v", got)
	}
	v := s.viewer(t, ts, from(0))
	v.whole(5)
	p = s.publisher(t, ts) // comes back in the middle of the group it left
	for id := uint64(1); id <= parts; id++ {
		p.put(part(5, id))
	}
	v.whole(6)
}

func TestUnknownTrack(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	var re *moqt.RequestError
	if _, err := s.view(t, ts, fromNow); !errors.As(err, &re) || re.Code != wire.RequestDoesNotExist {
		t.Errorf("subscribe: %v", err)
	}
	c := s.dial(t, nil)
	if _, err := c.TrackStatus(within(t, time.Minute), ts); !errors.As(err, &re) || re.Code != wire.RequestDoesNotExist {
		t.Errorf("track status: %v", err)
	}
	if _, err := c.Fetch(within(t, time.Minute), ts, moqt.Location{}, moqt.Location{Group: 9}, moqt.FetchOptions{}); !errors.As(err, &re) || re.Code != wire.RequestDoesNotExist {
		t.Errorf("fetch: %v", err)
	}
}
