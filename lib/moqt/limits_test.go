package moqt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// foe plays the other side of a session in either draft.
type foe struct {
	*rawPeer
	v Version
}

func attack(t *testing.T, v Version, server bool, conf *Config) *foe {
	switch {
	case v.RequestStreams():
		return &foe{&attackStreams(t, v, server, conf).rawPeer, v}
	case server:
		return &foe{attackServer(t, conf), v}
	}
	return &foe{attackClient(t, conf), v}
}

// ask sends a request and returns where answers to it come.
func (f *foe) ask(m wire.Message) *controlStream {
	f.t.Helper()
	if !f.v.RequestStreams() {
		f.send(m)
		return f.ctrl
	}
	st, err := f.conn.OpenStream(testContext(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	cs := newControlStream(st, f.v)
	if err := cs.send(m); err != nil && f.s.ctx.Err() == nil {
		f.t.Fatal(err)
	}
	return cs
}

// subscribes lets the session subscribe, under alias 7.
func (f *foe) subscribes() *Subscription {
	f.t.Helper()
	if !f.v.RequestStreams() {
		return f.subscribed()
	}
	got := make(chan *Subscription, 1)
	go func() {
		sub, err := f.s.Subscribe(testContext(f.t), testTrack, SubscribeOptions{})
		if err != nil {
			f.t.Error(err)
		}
		got <- sub
	}()
	st, err := f.conn.AcceptStream(testContext(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	cs := newControlStream(st, f.v)
	if _, err := cs.receive(); err != nil {
		f.t.Fatal(err)
	}
	if err := cs.send(&wire.SubscribeOK{TrackAlias: 7}); err != nil {
		f.t.Fatal(err)
	}
	return recv(f.t, got)
}

// vi makes bytes of integers.
func (f *foe) vi(b []byte, ns ...uint64) []byte {
	for _, n := range ns {
		b = wire.AppendVarint(b, f.v, n)
	}
	return b
}

func (f *foe) subgroup(group uint64, properties bool) []byte {
	return wire.SubgroupHeader{TrackAlias: 7, Group: group, HasProperties: properties}.Append(nil, f.v)
}

// frame makes a control message of any payload.
func (f *foe) frame(typ uint64, payload []byte) []byte {
	b := f.vi(nil, typ)
	return append(append(b, byte(len(payload)>>8), byte(len(payload))), payload...)
}

// raw writes where a request would begin.
func (f *foe) raw(b []byte) {
	f.t.Helper()
	if !f.v.RequestStreams() {
		f.control(b)
		return
	}
	st, err := f.conn.OpenStream(testContext(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	st.Write(b)
}

func eachDraft(t *testing.T, test func(t *testing.T, v Version)) {
	for _, v := range wire.Versions() {
		t.Run(v.String(), func(t *testing.T) { test(t, v) })
	}
}

// TestHugeLengths: a length of 2^61, wherever one stands, is refused with the draft's code before anything is allocated for it.
func TestHugeLengths(t *testing.T) {
	const huge = 1 << 61
	for _, tt := range []struct {
		name   string
		attack func(f *foe)
		code   SessionCode // NoError: the stream is refused, the session goes on
		limit  string
	}{
		{"payload", func(f *foe) { f.stream(f.vi(f.subgroup(0, false), 0, huge)) }, wire.NoError, "MaxObjectSize"},
		{"properties", func(f *foe) { f.stream(f.vi(f.subgroup(0, true), 0, huge)) }, wire.NoError, "MaxPropertiesSize"},
		{"property in properties", func(f *foe) {
			block := f.vi(nil, 1, huge)
			f.stream(append(f.vi(f.subgroup(0, true), 0, uint64(len(block))), append(block, 1, 0)...))
		}, wire.ProtocolViolation, ""},
		{"properties of a datagram", func(f *foe) { f.conn.SendDatagram(f.vi(nil, 1, 7, 0, 0, 0, huge)) }, wire.ProtocolViolation, ""},
		{"stream type", func(f *foe) { f.stream(f.vi(nil, huge)) }, wire.ProtocolViolation, ""},
		{"message type", func(f *foe) { f.raw(f.vi(nil, huge)) }, wire.ProtocolViolation, ""},
		{"fields of a namespace", func(f *foe) { f.raw(f.frame(3, f.vi(nil, f.id(), huge))) }, wire.ProtocolViolation, ""},
		{"field of a namespace", func(f *foe) { f.raw(f.frame(3, f.vi(nil, f.id(), 1, huge))) }, wire.ProtocolViolation, ""},
		{"track name", func(f *foe) { f.raw(f.frame(3, append(f.vi(nil, f.id(), 1, 1, '1'), f.vi(nil, huge)...))) }, wire.ProtocolViolation, ""},
		{"parameters", func(f *foe) { f.raw(f.frame(3, f.vi(nil, f.id(), 1, 1, '1', 1, '2', huge))) }, wire.ProtocolViolation, ""},
		{"parameter", func(f *foe) { f.raw(f.frame(3, f.vi(nil, f.id(), 1, 1, '1', 1, '2', 1, 3, huge))) }, wire.ProtocolViolation, ""},
		{"request id", func(f *foe) { f.raw(f.frame(3, f.vi(nil, huge+1, 1, 1, '1', 1, '2', 0))) }, wire.TooManyRequests, "MaxRequests"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachDraft(t, func(t *testing.T, v Version) {
				code := tt.code
				if code == wire.TooManyRequests && v.RequestStreams() {
					code = wire.InvalidRequestID // there is no maximum any more, but a sequence
				}
				f := attack(t, v, false, nil)
				sub := f.subscribes()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				tt.attack(f)
				if code != wire.NoError {
					go func() { // somebody reads
						g, err := sub.AcceptSubgroup(context.Background())
						for err == nil {
							_, err = g.Next()
						}
					}()
					f.closed(code)
				} else {
					g, err := sub.AcceptSubgroup(testContext(t))
					if err != nil {
						t.Fatal(err)
					}
					if _, err = g.Next(); err == nil {
						_, err = io.ReadAll(g)
					}
					if !errors.Is(err, ErrTooLarge) || f.s.ctx.Err() != nil {
						t.Errorf("%v; session: %v", err, context.Cause(f.s.ctx))
					}
				}
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
					t.Errorf("%d bytes were allocated", n)
				}
				if tt.limit != "" && code != wire.InvalidRequestID && f.s.Stats().Limits[tt.limit] != 1 {
					t.Errorf("limits %v, want %s", f.s.Stats().Limits, tt.limit)
				}
			})
		})
	}
}

// id is that of the peer's next request.
func (f *foe) id() uint64 {
	_, next := f.s.requests.following()
	return next
}

// TestDatagramsWithProperties: for aliases nobody has they are dropped and counted, for one that nobody reads all but the last.
func TestDatagramsWithProperties(t *testing.T) {
	eachDraft(t, func(t *testing.T, v Version) {
		synctest.Test(t, func(t *testing.T) {
			f := attack(t, v, false, &Config{MaxPendingDatagrams: 5})
			sub := f.subscribes()
			for alias := range uint64(10) {
				for i := range byte(20) {
					b, err := wire.Datagram{TrackAlias: alias, ID: uint64(i), Properties: []byte{0x3c, 1}, Payload: []byte{i}}.Append(nil, v)
					if err != nil {
						t.Fatal(err)
					}
					f.conn.SendDatagram(b)
				}
			}
			synctest.Wait() // until all were read
			if st := f.s.Stats(); st.DatagramsDropped != 195 || sub.DroppedDatagrams() != 15 {
				t.Errorf("dropped %d, of the subscription %d", st.DatagramsDropped, sub.DroppedDatagrams())
			}
			for want := byte(15); want < 20; want++ {
				if d, err := sub.AcceptDatagram(testContext(t)); err != nil || d.Payload[0] != want {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	})
}

// TestTokenCacheIsBounded: tokens over the cache close the session.
func TestTokenCacheIsBounded(t *testing.T) {
	eachDraft(t, func(t *testing.T, v Version) {
		f := attack(t, v, true, &Config{MaxTokenCache: 1000})
		var ts []Token
		for i := range uint64(4) {
			ts = append(ts, Token{AliasType: wire.TokenRegister, Alias: i, Type: i, Value: make([]byte, 300)})
		}
		f.ask(&wire.TrackStatus{Subscribe: wire.Subscribe{Track: testTrack, Parameters: wire.Parameters{Tokens: ts}}})
		f.closed(wire.AuthTokenCacheOverflow)
		if f.s.Stats().Limits["MaxTokenCache"] != 1 {
			t.Errorf("%v", f.s.Stats().Limits)
		}
	})
}

// TestNamespacesAreBounded: a publisher that tells of more namespaces than allowed loses that subscription.
func TestNamespacesAreBounded(t *testing.T) {
	everywhere(t, func(t *draftT) {
		h := handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
			if a, err := r.Accept(); err == nil {
				for i := range 10 {
					a.Add(object.Namespace{"live", fmt.Sprint(i)})
				}
			}
		}}
		c, _ := pipePair(t, &Config{MaxNamespaces: 3}, &Config{Handler: h})
		sub, err := c.SubscribeNamespace(testContext(t), object.Namespace{"live"}, SubscribeNamespaceOptions{})
		for range 3 {
			if err == nil {
				_, err = sub.Next(testContext(t))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Next(testContext(t)); !errors.Is(err, ErrTooLarge) || c.Stats().Limits["MaxNamespaces"] != 1 {
			t.Errorf("%v, %v", err, c.Stats().Limits)
		}
	})
}

// TestTimeouts: what a peer leaves undone ends in the time set, with the draft's code where the session ends.
func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		conf   Config
		attack func(f *foe) error
	}{
		{"AliasTimeout", Config{AliasTimeout: 3 * time.Second}, func(f *foe) error {
			st := f.stream(wire.SubgroupHeader{TrackAlias: 99}.Append(nil, f.v))
			<-st.Context().Done()
			return nil
		}},
		{"HeaderTimeout", Config{HeaderTimeout: 3 * time.Second}, func(f *foe) error {
			st := f.stream(f.subgroup(0, false)[:1])
			<-st.Context().Done()
			return nil
		}},
		{"ResponseTimeout", Config{ResponseTimeout: 3 * time.Second}, func(f *foe) error {
			_, err := f.s.TrackStatus(context.Background(), testTrack)
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("TRACK_STATUS: %v", err)
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachDraft(t, func(t *testing.T, v Version) {
				synctest.Test(t, func(t *testing.T) {
					f := attack(t, v, false, &tt.conf)
					start := time.Now()
					if err := tt.attack(f); err != nil {
						t.Error(err)
					}
					if d := time.Since(start); d != 3*time.Second {
						t.Errorf("after %v", d)
					}
					synctest.Wait() // it is counted after the peer was told
					if f.s.ctx.Err() != nil || f.s.Stats().Limits[tt.name] != 1 {
						t.Errorf("session %v, limits %v", context.Cause(f.s.ctx), f.s.Stats().Limits)
					}
				})
			})
		})
	}
}

// TestHostileMemory: a peer that opens all it may and sends all that fits costs a bounded amount of memory.
func TestHostileMemory(t *testing.T) {
	overQUIC(t, func(t *draftT) {
		const (
			streams  = 100
			requests = 100
			buffered = 4 << 20
		)
		h := handlers{
			publish: func(ctx context.Context, r *PublishRequest) {
				if _, err := r.Accept(SubscribeOptions{}); err == nil { // and reads nothing
					<-ctx.Done()
				}
			},
			subscribe:          func(ctx context.Context, r *SubscribeRequest) { <-ctx.Done() },
			publishNamespace:   func(ctx context.Context, r *PublishNamespaceRequest) { r.Accept() },
			subscribeNamespace: func(ctx context.Context, r *SubscribeNamespaceRequest) { r.Accept() },
		}
		conf := &Config{Handler: h, MaxStreams: streams, MaxRequests: requests, MaxBuffered: buffered}
		c, s := pipePair(t, &Config{ResponseTimeout: time.Minute}, conf)
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		long := strings.Repeat("x", 1000)
		p, err := c.Publish(ctx, testTrack, PublishOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range requests { // the last one waits
			go c.Subscribe(ctx, object.TrackName{Namespace: object.Namespace{long, long, fmt.Sprint(i)}, Name: long}, SubscribeOptions{})
		}
		payload := bytes.Repeat([]byte("payload "), 32<<10)
		for g := range uint64(2 * streams) {
			go func() {
				if w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: g}); err == nil {
					w.WriteObject(0, nil, wire.StatusNormal, payload)
				}
			}()
		}
		for range 1000 {
			p.SendDatagram(Datagram{Payload: payload[:1000]})
		}
		// All that can get there has when nothing more does for a while.
		last, since := uint64(0), time.Now()
		for (last < buffered/2 || time.Since(since) < 300*time.Millisecond) && ctx.Err() == nil {
			if n := cameOverQUIC(s); n > last+10_000 {
				last, since = n, time.Now()
			}
			time.Sleep(10 * time.Millisecond) // quic-go counts what comes from the network, and has no event for it
		}
		if s.ctx.Err() != nil {
			t.Fatalf("session ended: %v", context.Cause(s.ctx))
		}
		if last < buffered/2 {
			t.Fatalf("only %d bytes arrived", last)
		}
		// Both sides are in this process: the attacker's own share is payload-sized, too.
		if grown := heap() - before; grown > 5*buffered {
			t.Errorf("heap grew by %d bytes", grown)
		} else {
			t.Logf("heap grew by %.1f MB, %.1f MB arrived", float64(grown)/1e6, float64(last)/1e6)
		}
	})
}

// cameOverQUIC is how many bytes came to a session over QUIC.
func cameOverQUIC(s *Session) uint64 {
	conn := s.conn
	if r, ok := conn.(recoded); ok {
		conn = r.Conn
	}
	return conn.(interface{ ConnectionStats() quic.ConnectionStats }).ConnectionStats().BytesReceived
}

// TestNoSetup: a peer that says nothing, or only the beginning of something, has HandshakeTimeout.
func TestNoSetup(t *testing.T) {
	eachDraft(t, func(t *testing.T, v Version) {
		for _, server := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(PipeOptions{Version: v})
				s := NewClient(b, "relay", "/", &Config{HandshakeTimeout: 3 * time.Second})
				if server {
					s = NewServer(b, &Config{HandshakeTimeout: 3 * time.Second})
				}
				ended := make(chan error, 1)
				go func() { ended <- s.Run(context.Background()) }()
				if v.SetupStream() != 0 {
					st, err := a.OpenUniStream(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					st.Write(wire.AppendVarint(nil, v, v.SetupStream()))
				}
				start := time.Now()
				var se *SessionError
				if err := <-ended; !errors.As(err, &se) || se.Code != wire.ControlMessageTimeout || time.Since(start) != 3*time.Second {
					t.Errorf("server %v: %v after %v", server, err, time.Since(start))
				}
				if s.Stats().Limits["HandshakeTimeout"] != 1 {
					t.Errorf("limits %v", s.Stats().Limits)
				}
			})
		}
	})
}

// TestControlTimeout: a peer that asks and does not read the answers is left with the draft's code.
func TestControlTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{Version: wire.Draft16, Window: 16})
		s := NewServer(b, &Config{ControlTimeout: 3 * time.Second})
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background()) }()
		st, err := a.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		cs := newControlStream(st, wire.Draft16)
		if err := cs.send(&wire.ClientSetup{}); err != nil {
			t.Fatal(err)
		}
		if _, err := cs.receive(); err != nil {
			t.Fatal(err)
		}
		if err := cs.send(&wire.TrackStatus{Subscribe: wire.Subscribe{Track: testTrack}}); err != nil {
			t.Fatal(err)
		}
		start := time.Now() // the answer is longer than the window
		var se *SessionError
		if err := <-ended; !errors.As(err, &se) || se.Code != wire.ControlMessageTimeout || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s.Stats().Limits["ControlTimeout"] != 1 {
			t.Errorf("limits %v", s.Stats().Limits)
		}
	})
}
