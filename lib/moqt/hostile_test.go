package moqt

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// rawPeer is the other end of a session, played by hand.
type rawPeer struct {
	t    *testing.T
	conn Conn
	ctrl *controlStream
	end  <-chan error // of the session under test
	s    *Session
}

// attackServer starts a server session and its client's setup by hand.
func attackServer(t *testing.T, conf *Config) *rawPeer {
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
	s := NewServer(b, conf)
	p := &rawPeer{t: t, conn: a, s: s, end: run(t, s)}
	st, err := a.OpenStream(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	p.ctrl = newControlStream(st, wire.Draft16)
	p.send(&wire.ClientSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100)), Path: ptr("/")}})
	if _, ok := p.receive().(*wire.ServerSetup); !ok {
		t.Fatal("no SERVER_SETUP")
	}
	return p
}

// attackClient starts a client session and its server's setup by hand.
func attackClient(t *testing.T, conf *Config) *rawPeer {
	a, b := Pipe(PipeOptions{Version: wire.Draft16})
	s := NewClient(a, "relay", "/", conf)
	p := &rawPeer{t: t, conn: b, s: s, end: run(t, s)}
	st, err := b.AcceptStream(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	p.ctrl = newControlStream(st, wire.Draft16)
	if _, ok := p.receive().(*wire.ClientSetup); !ok {
		t.Fatal("no CLIENT_SETUP")
	}
	p.send(&wire.ServerSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100))}})
	return p
}

func (p *rawPeer) send(m wire.Message) {
	p.t.Helper()
	if err := p.ctrl.send(m); err != nil && p.s.ctx.Err() == nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) receive() wire.Message {
	p.t.Helper()
	m, err := p.ctrl.receive()
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// control writes bytes to the control stream.
func (p *rawPeer) control(b []byte) {
	p.t.Helper()
	if _, err := p.ctrl.st.Write(b); err != nil && p.s.ctx.Err() == nil {
		p.t.Fatal(err)
	}
}

// stream opens a unidirectional stream with b on it.
func (p *rawPeer) stream(b []byte) SendStream {
	p.t.Helper()
	st, err := p.conn.OpenUniStream(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := st.Write(b); err != nil {
		p.t.Fatal(err)
	}
	return st
}

// closed waits for the session to end with a code, which the peer must see too.
func (p *rawPeer) closed(code SessionCode) {
	p.t.Helper()
	var se *SessionError
	if err := recv(p.t, p.end); !errors.As(err, &se) || se.Code != code || se.Remote {
		p.t.Errorf("session ended with %v, want %v", err, code)
	}
	if err := done(p.t, p.conn.Context()); !errors.As(err, &se) || se.Code != code || !se.Remote {
		p.t.Errorf("peer was told %v, want %v", err, code)
	}
}

// alive checks that the session still answers.
func (p *rawPeer) alive(id uint64) {
	p.t.Helper()
	p.send(&wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: id, Track: testTrack}})
	for {
		m := p.receive()
		if e, ok := m.(*wire.RequestError); ok && e.RequestID == id {
			return
		}
	}
}

func message(m wire.Message) []byte {
	b, err := wire.AppendMessage(nil, wire.Draft16, m)
	if err != nil {
		panic(err)
	}
	return b
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// TestControlStreamAttacks: what a client may not say on the control stream closes the session with the draft's code.
func TestControlStreamAttacks(t *testing.T) {
	subscribe := func(id uint64) wire.Message { return &wire.Subscribe{RequestID: id, Track: testTrack} }
	token := func(t ...Token) wire.Message {
		return &wire.TrackStatus{Subscribe: wire.Subscribe{Track: testTrack, Parameters: wire.Parameters{Tokens: t}}}
	}
	for _, tt := range []struct {
		name string
		send []byte
		code SessionCode
	}{
		{"unknown message type", unhex("3f 0004 deadbeef"), wire.ProtocolViolation},
		{"unknown message type 2^61", unhex("e000000000000000"), wire.ProtocolViolation},
		{"namespace of 2^61 fields", unhex("06 000a 00 e000000000000000 00"), wire.ProtocolViolation},
		{"namespace field of 2^61 bytes", unhex("06 000b 00 01 e000000000000000 00"), wire.ProtocolViolation},
		{"2^61 parameters", unhex("03 000e 00 01 01 61 01 62 e000000000000000 00"), wire.ProtocolViolation},
		{"message longer than its fields", unhex("0a 0002 00 00"), wire.ProtocolViolation},
		{"message shorter than its fields", unhex("0a 0000"), wire.ProtocolViolation},
		{"CLIENT_SETUP again", message(&wire.ClientSetup{}), wire.ProtocolViolation},
		{"SERVER_SETUP from a client", message(&wire.ServerSetup{}), wire.ProtocolViolation},
		{"SUBSCRIBE_NAMESPACE on the control stream", message(&wire.SubscribeNamespace{}), wire.ProtocolViolation},
		{"NAMESPACE on the control stream", message(&wire.Namespace{}), wire.ProtocolViolation},
		{"unknown parameter", message(&wire.Subscribe{Track: testTrack, Parameters: wire.Parameters{Unknown: []wire.KeyValue{{Type: 0x41}}}}), wire.ProtocolViolation},
		{"GOAWAY with a URI from a client", message(&wire.GoAway{NewSessionURI: "x"}), wire.ProtocolViolation},
		{"GOAWAY twice", append(message(&wire.GoAway{}), message(&wire.GoAway{})...), wire.ProtocolViolation},
		{"MAX_REQUEST_ID that does not grow", message(&wire.MaxRequestID{MaxRequestID: 100}), wire.ProtocolViolation},
		{"odd request id from a client", message(subscribe(1)), wire.InvalidRequestID},
		{"request id far ahead", message(subscribe(1000)), wire.InvalidRequestID},
		{"request id twice", append(message(subscribe(0)), message(subscribe(0))...), wire.InvalidRequestID},
		{"request id over the maximum", message(subscribe(2048)), wire.TooManyRequests},
		{"answer to nothing", message(&wire.RequestOK{RequestID: 1}), wire.ProtocolViolation},
		{"error for nothing", message(&wire.RequestError{RequestID: 1}), wire.ProtocolViolation},
		{"update of nothing", message(&wire.RequestUpdate{RequestID: 0, ExistingRequestID: 77}), wire.ProtocolViolation},
		{"fetch that ends before it starts", message(&wire.Fetch{FetchType: wire.FetchStandalone, Track: testTrack, Start: Location{Group: 2}, End: Location{Group: 1}}), wire.ProtocolViolation},
		{"token of garbage", unhex("06 0009 00 01 01 61 01 03 02 01 ff"), wire.KeyValueFormattingError},
		{"token alias unknown", message(token(Token{AliasType: wire.TokenUseAlias, Alias: 1})), wire.UnknownAuthTokenAlias},
		{"token alias deleted before", message(token(Token{AliasType: wire.TokenDelete, Alias: 1})), wire.UnknownAuthTokenAlias},
		{"token alias twice", message(token(Token{AliasType: wire.TokenRegister, Alias: 1}, Token{AliasType: wire.TokenRegister, Alias: 1, Type: 2})), wire.DuplicateAuthTokenAlias},
		{"token over the cache", message(token(Token{AliasType: wire.TokenRegister, Alias: 1, Value: make([]byte, 17000)})), wire.AuthTokenCacheOverflow},
		{"track properties with delivery timeout 0", message(&wire.Publish{Track: testTrack, Properties: []byte{2, 0}}), wire.ProtocolViolation},
		{"track alias twice", append(message(&wire.Publish{Track: testTrack, TrackAlias: 7}),
			message(&wire.Publish{RequestID: 2, Track: object.TrackName{Namespace: testTrack.Namespace, Name: "other"}, TrackAlias: 7})...), wire.DuplicateTrackAlias},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attackServer(t, &Config{Handler: handlers{
				subscribe: func(ctx context.Context, _ *SubscribeRequest) { <-ctx.Done() },
				publish:   func(ctx context.Context, _ *PublishRequest) { <-ctx.Done() },
			}})
			p.control(tt.send)
			p.closed(tt.code)
		})
	}
	t.Run("control stream closed", func(t *testing.T) {
		p := attackServer(t, nil)
		p.ctrl.st.Close()
		p.closed(wire.ProtocolViolation)
	})
	t.Run("control stream closed inside a message", func(t *testing.T) {
		p := attackServer(t, nil)
		p.control(unhex("03 00ff 00"))
		p.ctrl.st.Close()
		p.closed(wire.ProtocolViolation)
	})
	t.Run("control stream reset", func(t *testing.T) {
		p := attackServer(t, nil)
		p.ctrl.st.CancelWrite(0)
		p.closed(wire.ProtocolViolation)
	})
}

func TestSetupAttacks(t *testing.T) {
	setup := func(p wire.SetupParameters) []byte { return message(&wire.ClientSetup{Parameters: p}) }
	for _, tt := range []struct {
		name    string
		send    []byte
		fin     bool
		weblike bool
		code    SessionCode
	}{
		{"truncated", unhex("20 0030 01 01 40"), true, false, wire.ProtocolViolation},
		{"nothing but FIN", nil, true, false, wire.InternalError},
		{"another message first", message(&wire.GoAway{}), false, false, wire.ProtocolViolation},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), false, false, wire.ProtocolViolation},
		{"path without slash", setup(wire.SetupParameters{Path: ptr("live")}), false, false, wire.MalformedPath},
		{"path with a control character", setup(wire.SetupParameters{Path: ptr("/\x00")}), false, false, wire.MalformedPath},
		{"authority with a path", setup(wire.SetupParameters{Authority: ptr("host/path")}), false, false, wire.MalformedAuthority},
		{"path over WebTransport", setup(wire.SetupParameters{Path: ptr("/")}), false, true, wire.InvalidPath},
		{"authority over WebTransport", setup(wire.SetupParameters{Authority: ptr("host")}), false, true, wire.InvalidAuthority},
		{"token alias in use", setup(wire.SetupParameters{Tokens: []Token{{AliasType: wire.TokenUseAlias}}}), false, false, wire.ProtocolViolation},
		{"message of 2^16-1 bytes of parameters", append(unhex("20 ffff ff"), bytes.Repeat([]byte{0xff}, 65534)...), false, false, wire.ProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := Pipe(PipeOptions{Version: wire.Draft16, WebLike: tt.weblike, Window: 1 << 20})
			s := NewServer(b, nil)
			p := &rawPeer{t: t, conn: a, s: s, end: run(t, s)}
			st, err := a.OpenStream(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			st.Write(tt.send)
			if tt.fin {
				st.Close()
			}
			p.closed(tt.code)
		})
	}
}

func TestSilentClientIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{Version: wire.Draft16})
		s := NewServer(b, nil)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background()) }()
		st, err := a.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		st.Write([]byte{0x20})
		start := time.Now()
		var se *SessionError
		if err := <-ended; !errors.As(err, &se) || se.Code != wire.ControlMessageTimeout || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// subscribed returns a client with an established subscription, alias 7, to the peer.
func (p *rawPeer) subscribed() *Subscription {
	p.t.Helper()
	got := make(chan *Subscription, 1)
	go func() {
		sub, err := p.s.Subscribe(testContext(p.t), testTrack, SubscribeOptions{})
		if err != nil {
			p.t.Error(err)
		}
		got <- sub
	}()
	m, ok := p.receive().(*wire.Subscribe)
	if !ok {
		p.t.Fatal("no SUBSCRIBE")
	}
	p.send(&wire.SubscribeOK{RequestID: m.RequestID, TrackAlias: 7})
	return recv(p.t, got)
}

func TestDataStreamAttacks(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
		code SessionCode
	}{
		{"unknown stream type", unhex("3e 07 00"), wire.ProtocolViolation},
		{"stream type 2^61", unhex("e000000000000000"), wire.ProtocolViolation},
		{"header ends early", unhex("10 07"), wire.ProtocolViolation},
		{"nothing", nil, wire.ProtocolViolation},
		{"ends inside an object header", unhex("30 07 00 00"), wire.ProtocolViolation},
		{"ends inside a payload", unhex("30 07 00 00 05 aabb"), wire.ProtocolViolation},
		{"status 1", unhex("30 07 00 00 00 01"), wire.ProtocolViolation},
		{"properties on a status", unhex("31 07 00 00 02 3c01 00 03"), wire.ProtocolViolation},
		{"properties that are none", unhex("31 07 00 00 01 3c 01 aa"), wire.ProtocolViolation},
		{"fetch stream never asked for", unhex("05 04"), wire.ProtocolViolation},
		{"fetch stream for the other side's id", unhex("05 01"), wire.ProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attackClient(t, nil)
			sub := p.subscribed()
			p.stream(tt.send).Close()
			go func() { // somebody reads
				g, err := sub.AcceptSubgroup(context.Background())
				for err == nil {
					_, err = g.Next()
				}
			}()
			p.closed(tt.code)
		})
	}
}

func TestObjectsOverTheLimitRefuseTheStreamOnly(t *testing.T) {
	for name, b := range map[string][]byte{
		"payload of 2^61 bytes":    unhex("30 07 00 00 e000000000000000"),
		"properties of 2^61 bytes": unhex("31 07 00 00 e000000000000000"),
	} {
		t.Run(name, func(t *testing.T) {
			p := attackClient(t, nil)
			sub := p.subscribed()
			st := p.stream(b)
			g, err := sub.AcceptSubgroup(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = g.Next(); err == nil { // the payload's size is only announced
				_, err = io.ReadAll(g)
			}
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%v", err)
			}
			done(t, st.Context())
			if p.s.ctx.Err() != nil {
				t.Errorf("session ended: %v", context.Cause(p.s.ctx))
			}
			st = p.stream(unhex("30 07 01 00 01 aa"))
			st.Close()
			if h, _, b := readObject(t, sub); h.Group != 1 || b != "\xaa" {
				t.Errorf("next subgroup: %+v %q", h, b)
			}
		})
	}
}

func TestAnswersOfTheWrongKind(t *testing.T) {
	for name, answer := range map[string]wire.Message{
		"PUBLISH_OK":                          &wire.PublishOK{},
		"FETCH_OK":                            &wire.FetchOK{},
		"REQUEST_OK":                          &wire.RequestOK{},
		"SUBSCRIBE_OK with unknown parameter": &wire.SubscribeOK{Parameters: wire.Parameters{Unknown: []wire.KeyValue{{Type: 0x41}}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := attackClient(t, nil)
			go p.s.Subscribe(context.Background(), testTrack, SubscribeOptions{})
			p.receive()
			p.send(answer)
			p.closed(wire.ProtocolViolation)
		})
	}
}

func TestDuplicateAliasInSubscribeOK(t *testing.T) {
	p := attackClient(t, nil)
	p.subscribed()
	go p.s.Subscribe(context.Background(), object.TrackName{Namespace: testTrack.Namespace, Name: "other"}, SubscribeOptions{})
	m := p.receive().(*wire.Subscribe)
	p.send(&wire.SubscribeOK{RequestID: m.RequestID, TrackAlias: 7})
	p.closed(wire.DuplicateTrackAlias)
}

func TestDatagramAttacks(t *testing.T) {
	for name, b := range map[string][]byte{
		"type 0x10":                unhex("10 07 00 00 00"),
		"properties of 2^61 bytes": unhex("01 07 00 00 00 e000000000000000"),
		"properties of 0 bytes":    unhex("01 07 00 00 00 00 aa"),
		"nothing":                  {},
	} {
		t.Run(name, func(t *testing.T) {
			p := attackClient(t, nil)
			p.subscribed()
			if err := p.conn.SendDatagram(b); err != nil {
				t.Fatal(err)
			}
			p.closed(wire.ProtocolViolation)
		})
	}
	t.Run("with properties, for an unknown alias, in masses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := attackClient(t, &Config{MaxPendingDatagrams: 5})
			sub := p.subscribed()
			for range 100 {
				p.conn.SendDatagram(unhex("09 08 00 00 02 3c01 aa"))
			}
			for i := range byte(20) {
				p.conn.SendDatagram(append(unhex("09 07 00"), i, 2, 0x3c, 1, i))
			}
			synctest.Wait() // until all were read
			if n := sub.DroppedDatagrams(); n != 15 {
				t.Errorf("%d dropped", n)
			}
			for want := byte(15); want < 20; want++ {
				if d, err := sub.AcceptDatagram(testContext(t)); err != nil || d.Payload[0] != want {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	})
}

func TestRequestStreamAttacks(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []byte
		fin  bool
		code SessionCode
	}{
		{"another message first", message(&wire.Subscribe{Track: testTrack}), false, wire.ProtocolViolation},
		{"a message after SUBSCRIBE_NAMESPACE", append(message(&wire.SubscribeNamespace{}), message(&wire.GoAway{})...), false, wire.ProtocolViolation},
		{"FIN inside the message", unhex("11 0010 00"), true, wire.ProtocolViolation},
		{"33 fields", append(append(unhex("11 0045 00 21"), bytes.Repeat([]byte{1, 'a'}, 33)...), 0, 0), false, wire.ProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attackServer(t, &Config{Handler: handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() }}})
			st, err := p.conn.OpenStream(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			st.Write(tt.send)
			if tt.fin {
				st.Close()
			}
			p.closed(tt.code)
		})
	}
	t.Run("NAMESPACE_DONE before NAMESPACE", func(t *testing.T) {
		p := attackClient(t, nil)
		ended := make(chan error, 1)
		go func() {
			sub, err := p.s.SubscribeNamespace(context.Background(), nil, SubscribeNamespaceOptions{})
			if err == nil {
				_, err = sub.Next(context.Background())
			}
			ended <- err
		}()
		st, err := p.conn.AcceptStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		st.Write(append(message(&wire.RequestOK{}), message(&wire.NamespaceDone{Suffix: testTrack.Namespace})...))
		p.closed(wire.ProtocolViolation)
		if err := recv(t, ended); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("streams that say nothing", func(t *testing.T) {
		p := attackServer(t, &Config{HeaderTimeout: 20 * time.Millisecond})
		st, err := p.conn.OpenStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		uni := p.stream([]byte{0x10})
		done(t, st.Context())
		done(t, uni.Context())
		p.alive(0)
	})
}
