package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// bounded is a book with a bound of one kind alone, for a peer of any sort.
func bounded(k limits.Kind, n int64) *limits.Book {
	var t limits.Table
	for i := range t {
		t[i] = limits.Bounds{Peer: -1, Wide: -1, All: -1}
	}
	t[k].Wide = n
	return limits.New(limits.Config{Table: t})
}

func startBounded(t testing.TB, k limits.Kind, n int64) *server {
	return start(t, t.TempDir(), pipe, Config{Limits: bounded(k, n), Logger: slog.New(slog.DiscardHandler)}, store.Config{})
}

// numbered are tracks below a namespace.
func numbered(i int) object.TrackName {
	return object.TrackName{Namespace: object.Namespace{"ec", "n", fmt.Sprint(i)}, Name: "ts"}
}

// TestLimits: what a peer holds is bounded over all its sessions together, what is too much is refused as excessive load, and what is given
// back may be taken again.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		kind limits.Kind
		// ask asks for the i-th in a session; back gives it back.
		ask func(ctx context.Context, s *client, i int) (back func(), err error)
	}{
		{limits.Subscriptions, func(ctx context.Context, s *client, _ int) (func(), error) {
			sub, err := s.Subscribe(ctx, ts, moqt.SubscribeOptions{})
			return func() { sub.Unsubscribe() }, err
		}},
		{limits.Lists, func(ctx context.Context, s *client, _ int) (func(), error) {
			sub, err := s.SubscribeNamespace(ctx, object.Namespace{"ec"}, moqt.SubscribeNamespaceOptions{})
			return func() { sub.Close() }, err
		}},
		{limits.Namespaces, func(ctx context.Context, s *client, i int) (func(), error) {
			_, err := s.PublishNamespace(ctx, numbered(i).Namespace)
			return s.leave, err
		}},
		{limits.Tracks, func(ctx context.Context, s *client, i int) (func(), error) {
			_, err := s.Publish(ctx, numbered(i), moqt.PublishOptions{})
			return s.leave, err
		}},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				r := startBounded(t, c.kind, 3)
				if c.kind != limits.Tracks { // which would be one of them
					r.publisher(t, ts).group(1)
				}
				ctx := within(t, time.Minute)
				var backs []func()
				for i := range 6 { // each in a session of its own
					back, err := c.ask(ctx, r.dial(t, nil), i)
					if i < 3 {
						if err != nil {
							t.Fatal(err)
						}
						backs = append(backs, back)
						continue
					}
					if code := codeOf(err); code != "request EXCESSIVE_LOAD" {
						t.Errorf("%d: %v", i, err)
					}
				}
				backs[0]()
				time.Sleep(time.Second)
				if _, err := c.ask(ctx, r.dial(t, nil), 7); err != nil {
					t.Errorf("after one was given back: %v", err)
				}
				if n := r.limits.Refused()[c.kind]; n != 3 {
					t.Errorf("%d refused", n)
				}
			})
		})
	}
}

// TestSessionsAreBounded: what is too much of sessions ends with a reason, one that is not set up counts by itself, and both may come again.
func TestSessionsAreBounded(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := startBounded(t, limits.Sessions, 2)
		a, b := r.dial(t, nil), r.dial(t, nil)
		for _, s := range []*client{a, b} {
			if _, err := s.Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{}); codeOf(err) != "request DOES_NOT_EXIST" {
				t.Error(err)
			}
		}
		c := r.dial(t, nil)
		<-c.Context().Done()
		if err := context.Cause(c.Context()); err == nil || codeOf(err) != "session INTERNAL_ERROR" {
			t.Error(err)
		}
		a.leave()
		time.Sleep(time.Second)
		if _, err := r.dial(t, nil).Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{}); codeOf(err) != "request DOES_NOT_EXIST" {
			t.Error(err)
		}
		if got := r.Stats().RefusedSessions; got != 1 {
			t.Errorf("%d refused", got)
		}
	})
}

// TestSilentConnections: connections over TCP on which nothing comes keep nobody else out, and end.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	book := bounded(limits.Handshakes, 5)
	conf := &moqt.Config{Admit: book.Admit, HandshakeTimeout: time.Second}
	r := startWith(t, t.TempDir(), "tcp://127.0.0.1:0", Config{Limits: book}, store.Config{}, conf)
	closed := make(chan struct{}, 100)
	for range 20 {
		c, err := net.Dial("tcp", r.addr[len("tcp://"):])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			io.Copy(io.Discard, c)
			closed <- struct{}{}
		}()
	}
	for range 20 {
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("a silent connection stays")
		}
	}
	if n := book.Refused()[limits.Handshakes]; n < 10 {
		t.Errorf("%d refused", n)
	}
	if _, err := r.dial(t, nil).Subscribe(within(t, 10*time.Second), ts, moqt.SubscribeOptions{}); codeOf(err) != "request DOES_NOT_EXIST" {
		t.Error(err)
	}
}

// TestConnectsAreBounded: what begins too often is refused before its handshake, over QUIC too.
func TestConnectsAreBounded(t *testing.T) {
	t.Parallel()
	book := bounded(limits.Connects, 1) // 20 at once
	r := startWith(t, t.TempDir(), "127.0.0.1:0", Config{Limits: book}, store.Config{}, &moqt.Config{Admit: book.Admit, Prove: book.Prove})
	ok, began := 0, time.Now()
	for range 30 {
		s, err := moqt.Dial(within(t, 10*time.Second), r.url(), r.tls, nil)
		if err == nil {
			ok++
			s.Close(wire.NoError, "")
		}
	}
	if took := time.Since(began); ok < 20 || ok > min(21+int(took.Seconds()), 29) && took < 8*time.Second {
		t.Errorf("%d of 30 came in %v", ok, took)
	}
	r.dial2(t, 10*time.Second)
}

// dial2 dials until it is let in.
func (s *server) dial2(t *testing.T, patience time.Duration) {
	for until := time.Now().Add(patience); ; {
		c, err := moqt.Dial(within(t, 10*time.Second), s.url(), s.tls, nil)
		if err == nil {
			c.Close(wire.NoError, "")
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestBandwidthIsBounded: what is published too fast comes as fast as it may, and so does what is read; nothing is lost.
func TestBandwidthIsBounded(t *testing.T) {
	for name, k := range map[string]limits.Kind{"published": limits.In, "read": limits.Out} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				const rate = 50_000
				r := startBounded(t, k, rate)
				p := r.publisher(t, ts)
				v := r.viewer(t, ts, fromNow)
				began, bytes := time.Now(), 0
				const groups = 20
				for g := range uint64(groups) {
					p.group(g)
					for id := range uint64(parts) {
						bytes += len(part(g, id).Payload)
					}
				}
				v.whole(groups)
				least := time.Duration(float64(bytes-2*rate) / rate * 1e9)
				if d := time.Since(began); d < least || d > 2*least+5*time.Second {
					t.Errorf("%d bytes in %v, want %v", bytes, d, least)
				}
				if r.limits.Refused()[k] == 0 {
					t.Error("nothing was held up")
				}
			})
		})
	}
}

// TestStoredIsBounded: who has had too much stored in a day brings no more, and others do.
func TestStoredIsBounded(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := startBounded(t, limits.Stored, 140_000)
		p := r.publisher(t, ts)
		for g := range uint64(2) {
			p.group(g)
		}
		time.Sleep(time.Second)
		w, err := p.pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: 9, HasProperties: true})
		if err != nil {
			t.Fatal(err)
		}
		o := part(9, 0)
		w.WriteObject(o.ID, o.Properties, 0, o.Payload)
		time.Sleep(time.Second)
		if err := w.WriteObject(1, nil, 0, make([]byte, 1<<20)); err == nil {
			t.Error("more was taken")
		}
		if r.store.Lookup(ts).Has(9) {
			t.Error("it was stored")
		}
		time.Sleep(25 * time.Hour)
		p.group(10)
		wait(t, "a group of the next day", func() bool { return r.store.Lookup(ts).Has(10) })
	})
}

// TestMemoryIsBounded: a group without an end ends the session that sends it, and what was in memory goes when nobody publishes it any more and
// is read from the store.
func TestMemoryIsBounded(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := startBounded(t, limits.Memory, 1_000_000)
		good := r.publisher(t, otherTrack)
		good.group(1)
		p := r.publisher(t, ts)
		w, err := p.pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: 1, HasProperties: true})
		fatal(t, err)
		sent := 0
		for id := uint64(0); p.c.Context().Err() == nil; id++ {
			o := part(1, 2)
			if w.WriteObject(id, o.Properties, 0, o.Payload) == nil {
				sent += len(o.Payload)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err := context.Cause(p.c.Context()); codeOf(err) != "session INTERNAL_ERROR" {
			t.Error(err)
		}
		if sent < 900_000 || sent > 3_000_000 {
			t.Errorf("%d bytes were taken", sent)
		}
		good.group(2)
		time.Sleep(time.Second)
		good.c.leave()
		time.Sleep(3 * time.Minute)
		r.mu.Lock()
		for _, tr := range r.tracks {
			if n := tr.Bytes(); n != 0 {
				t.Errorf("%v has %d bytes in memory", tr.name, n)
			}
		}
		r.mu.Unlock()
		if got := r.fetchAll(t, otherTrack, moqt.Location{}); len(got) != 2 {
			t.Errorf("%v", got)
		}
		v := r.viewer(t, otherTrack, from(1))
		v.whole(2)
	})
}

// TestNamesAreBounded: who asks for names that do not exist is refused after so many, without anybody being asked, and may go on with names
// that do.
func TestNamesAreBounded(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := startBounded(t, limits.Names, 5) // 100 at once
		var mu sync.Mutex
		asked := 0
		p := r.dial(t, askedHandler{func() { mu.Lock(); asked++; mu.Unlock() }})
		if _, err := p.PublishNamespace(within(t, time.Minute), object.Namespace{"ec"}); err != nil {
			t.Fatal(err)
		}
		r.publisher(t, ts).group(1)
		c := r.dial(t, nil)
		ctx := within(t, time.Hour)
		codes := make(map[string]int)
		for i := range 300 {
			var err error
			switch i % 3 {
			case 0:
				_, err = c.Subscribe(ctx, numbered(i), moqt.SubscribeOptions{})
			case 1:
				_, err = c.TrackStatus(ctx, numbered(i))
			case 2:
				_, err = c.Fetch(ctx, numbered(i), moqt.Location{}, moqt.Location{Group: 1}, moqt.FetchOptions{})
			}
			codes[codeOf(err)]++
		}
		if codes["request DOES_NOT_EXIST"] != 99 || codes["request EXCESSIVE_LOAD"] != 201 {
			t.Errorf("%v", codes)
		}
		if asked > 100 {
			t.Errorf("a publisher was asked %d times", asked)
		}
		if _, err := c.Subscribe(ctx, ts, moqt.SubscribeOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// askedHandler refuses all, and tells of it.
type askedHandler struct{ asked func() }

func (h askedHandler) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	h.asked()
	moqt.UnimplementedHandler{}.Subscribe(ctx, r)
}
func (h askedHandler) TrackStatus(_ context.Context, r *moqt.TrackStatusRequest) {
	h.asked()
	r.Reject(wire.RequestDoesNotExist, "")
}
func (h askedHandler) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	moqt.UnimplementedHandler{}.Fetch(ctx, r)
}
func (h askedHandler) SubscribeNamespace(ctx context.Context, r *moqt.SubscribeNamespaceRequest) {
	moqt.UnimplementedHandler{}.SubscribeNamespace(ctx, r)
}
func (h askedHandler) PublishNamespace(ctx context.Context, r *moqt.PublishNamespaceRequest) {
	moqt.UnimplementedHandler{}.PublishNamespace(ctx, r)
}
func (h askedHandler) Publish(ctx context.Context, r *moqt.PublishRequest) {
	moqt.UnimplementedHandler{}.Publish(ctx, r)
}

// TestTokenLimits: a token's own bounds hold for all its holders together, and for nobody else.
func TestTokenLimits(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", nil)
	var own limits.Set
	own[limits.Sessions], own[limits.Tracks] = 2, 1
	tok, _ := g.token(t, auth.Terms{Publish: []object.Namespace{{"ec"}}, Limits: own}, time.Now())
	a, err := g.with(t, tok)
	fatal(t, err)
	b, err := g.with(t, tok)
	fatal(t, err)
	if _, err := a.Publish(within(t, time.Minute), numbered(1), moqt.PublishOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := b.Publish(within(t, time.Minute), numbered(2), moqt.PublishOptions{}); codeOf(err) != "request EXCESSIVE_LOAD" {
		t.Error(err)
	}
	if c, err := g.with(t, tok); err == nil {
		<-c.Context().Done()
		if got := codeOf(context.Cause(c.Context())); got != "session INTERNAL_ERROR" {
			t.Error(got)
		}
	}
	other, _ := g.token(t, auth.Terms{Publish: []object.Namespace{{"ec"}}}, time.Now())
	c, err := g.with(t, other)
	fatal(t, err)
	if _, err := c.Publish(within(t, time.Minute), numbered(3), moqt.PublishOptions{}); err != nil {
		t.Error(err)
	}
}

// TestReadersAreBounded: a reader by HTTP counts as a subscription of its address.
func TestReadersAreBounded(t *testing.T) {
	r := New(Config{Store: emptyStore(t), Limits: bounded(limits.Subscriptions, 1)})
	req := httptest.NewRequest("GET", "/ec-x/live.ts", nil)
	req.RemoteAddr = "127.0.0.1:1"
	_, done, refusal := r.mayRead(req, object.Namespace{"ec", "x"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if _, _, refusal := r.mayRead(req, object.Namespace{"ec", "x"}); refusal == nil || refusal.Status != http.StatusTooManyRequests {
		t.Errorf("%v", refusal)
	}
	done()
	ctx, done, refusal := r.mayRead(req, object.Namespace{"ec", "x"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	defer done()
	if err := paces(ctx, 1<<30); err != nil {
		t.Error(err)
	}
}

func emptyStore(t *testing.T) *store.Store {
	st, err := store.Open(t.TempDir(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestParseLimit(t *testing.T) {
	size := func(s string) (int64, error) {
		if s != "8M" {
			return 0, errors.New("no size")
		}
		return 8 << 20, nil
	}
	for text, want := range map[string]limits.Bounds{
		"sessions=20": {Peer: 20, All: 77}, "sessions=20/40": {Peer: 20, Wide: 40, All: 77}, "out=8M": {Peer: 8 << 20},
		"names=0": {Peer: -1, Wide: -1, All: -1}, "names=0/5/0": {Peer: -1, Wide: 5, All: -1}, "fetches=1/2/3": {Peer: 1, Wide: 2, All: 3},
	} {
		var tab limits.Table
		tab[limits.Sessions].All = 77
		if err := ParseLimit(text, &tab, size); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		found := false
		for _, b := range tab {
			found = found || b == want
		}
		if !found {
			t.Errorf("%s: %+v", text, tab)
		}
	}
	for _, text := range []string{"sessions", "session=1", "sessions=1/2/3", "names=5/4", "names=-1", "names=x", "out=1", "names=1/2/3/4", "names="} {
		if err := ParseLimit(text, new(limits.Table), size); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
