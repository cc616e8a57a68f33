package moqt

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// raw18 plays the other side of a session of draft 18 or a later one by hand.
type raw18 struct {
	rawPeer
	v   Version
	out SendStream    // own control stream
	in  ReceiveStream // the session's
}

// attack18 sets a session up; server says which side is under test.
func attack18(t *testing.T, server bool, conf *Config) *raw18 {
	return attackStreams(t, wire.Draft18, server, conf)
}

// attackStreams does so in any draft with a stream for each request.
func attackStreams(t *testing.T, v Version, server bool, conf *Config) *raw18 {
	return attackAs(t, &wire.Setup{}, v, server, conf)
}

// attackAs does so with what SETUP says.
func attackAs(t *testing.T, setup *wire.Setup, v Version, server bool, conf *Config) *raw18 {
	a, b := Pipe(PipeOptions{Version: v})
	s := NewClient(b, "relay", "/", conf)
	if server {
		s = NewServer(b, conf)
	}
	p := &raw18{rawPeer: rawPeer{t: t, conn: a, s: s, end: run(t, s)}, v: v}
	p.out = p.stream(messageIn(v, setup))
	st, err := a.AcceptUniStream(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	p.in = st
	m, err := newControlStream(duplex{nil, st}, v).receive()
	if _, ok := m.(*wire.Setup); err != nil || !ok {
		t.Fatalf("%T, %v instead of SETUP", m, err)
	}
	recv(t, s.ready)
	return p
}

// onStreams runs a test with every draft in which each request has a stream.
func onStreams(t *testing.T, test func(t *testing.T, v Version)) {
	for _, v := range wire.Versions() {
		if v.RequestStreams() {
			t.Run(v.String(), func(t *testing.T) { test(t, v) })
		}
	}
}

// request opens a stream with messages on it.
func (p *raw18) request(ms ...wire.Message) *controlStream {
	p.t.Helper()
	st, err := p.conn.OpenStream(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	cs := newControlStream(st, p.v)
	for _, m := range ms {
		if err := cs.send(m); err != nil && p.s.ctx.Err() == nil {
			p.t.Fatal(err)
		}
	}
	return cs
}

// accept takes the session's next request.
func (p *raw18) accept() (*controlStream, wire.Message) {
	p.t.Helper()
	st, err := p.conn.AcceptStream(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	cs := newControlStream(st, p.v)
	m, err := cs.receive()
	if err != nil {
		p.t.Fatal(err)
	}
	return cs, m
}

func (p *raw18) stillAlive(id uint64) {
	p.t.Helper()
	m, err := p.request(&wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: id, Track: testTrack}}).receive()
	if _, ok := m.(*wire.RequestError); err != nil || !ok {
		p.t.Errorf("%T, %v in answer to TRACK_STATUS", m, err)
	}
}

// TestAttacks18: what a client may not do to a server in draft 18, and the code that ends the session.
func TestAttacks18(t *testing.T) { onStreams(t, testAttacks18) }

func testAttacks18(t *testing.T, v Version) {
	subscribe := &wire.Subscribe{Track: testTrack}
	for _, tt := range []struct {
		name string
		do   func(p *raw18)
		code SessionCode
	}{
		{"SETUP twice", func(p *raw18) { p.out.Write(messageIn(v, &wire.Setup{})) }, wire.ProtocolViolation},
		{"second control stream", func(p *raw18) { p.stream(messageIn(v, &wire.Setup{})); p.stream(messageIn(v, &wire.Setup{})) }, wire.ProtocolViolation},
		{"request on the control stream", func(p *raw18) { p.out.Write(messageIn(p.v, subscribe)) }, wire.ProtocolViolation},
		{"control stream closed", func(p *raw18) { p.out.Close() }, wire.ProtocolViolation},
		{"control stream reset", func(p *raw18) { p.out.CancelWrite(0) }, wire.ProtocolViolation},
		{"GOAWAY without the request id that the draft has, or with one", func(p *raw18) {
			b := messageIn(p.v, &wire.GoAway{})
			if !v.Has(wire.GoAwayNamesRequest) {
				b[2]++ // its length
				b = append(b, 1)
			}
			p.out.Write(b)
		}, wire.ProtocolViolation},
		{"GOAWAY with an id of its sender, or twice", func(p *raw18) {
			id, code := goAwayID(v, 2)
			p.out.Write(messageIn(p.v, &wire.GoAway{RequestID: id}))
			p.out.Write(messageIn(p.v, &wire.GoAway{RequestID: id}))
			p.closed(code)
		}, 0},
		{"GOAWAY with a URI from a client", func(p *raw18) {
			id, _ := goAwayID(v, 1)
			p.out.Write(messageIn(p.v, &wire.GoAway{NewSessionURI: "x", RequestID: id}))
		}, wire.ProtocolViolation},
		{"stream type 0", func(p *raw18) { p.stream([]byte{0, 0, 0}) }, wire.ProtocolViolation},
		{"no request first", func(p *raw18) { p.request(&wire.RequestOK{}) }, wire.ProtocolViolation},
		{"SETUP on a request stream", func(p *raw18) { p.request(&wire.Setup{}) }, wire.ProtocolViolation},
		{"id of the other side", func(p *raw18) { p.request(&wire.Subscribe{RequestID: 1, Track: testTrack}) }, wire.InvalidRequestID},
		{"id twice", func(p *raw18) {
			cs := p.request(&wire.TrackStatus{Subscribe: *subscribe})
			cs.receive()
			p.request(&wire.TrackStatus{Subscribe: *subscribe})
		}, wire.InvalidRequestID},
		{"id of an open request", func(p *raw18) { p.request(subscribe).receive(); p.request(subscribe) }, wire.InvalidRequestID},
		{"answer nobody waits for", func(p *raw18) { p.request(subscribe, &wire.SubscribeOK{}) }, wire.ProtocolViolation},
		{"PUBLISH_DONE from a subscriber", func(p *raw18) { p.request(subscribe, &wire.PublishDone{}) }, wire.ProtocolViolation},
		{"NAMESPACE on a subscription", func(p *raw18) { p.request(subscribe, &wire.Namespace{}) }, wire.ProtocolViolation},
		{"GOAWAY twice on a request", func(p *raw18) { p.request(subscribe, &wire.GoAway{}, &wire.GoAway{}) }, wire.ProtocolViolation},
		{"GOAWAY with a URI on a request of a client", func(p *raw18) { p.request(subscribe, &wire.GoAway{NewSessionURI: "moqt://a:1"}) }, wire.ProtocolViolation},
		{"GOAWAY with a URI on a namespace request of a client", func(p *raw18) {
			p.request(&wire.SubscribeNamespace{}, &wire.GoAway{NewSessionURI: "moqt://a:1"})
		}, wire.ProtocolViolation},
		{"GOAWAY twice on a namespace request", func(p *raw18) { p.request(&wire.SubscribeNamespace{}, &wire.GoAway{}, &wire.GoAway{}) }, wire.ProtocolViolation},
		{"REQUEST_UPDATE of TRACK_STATUS", func(p *raw18) {
			p.request(&wire.TrackStatus{Subscribe: *subscribe}, &wire.RequestUpdate{RequestID: 2})
		}, wire.ProtocolViolation},
		{"message cut by FIN", func(p *raw18) {
			cs := p.request(subscribe)
			cs.st.Write([]byte{2, 0})
			cs.st.Close()
		}, wire.ProtocolViolation},
		{"second SUBSCRIBE on a stream", func(p *raw18) { p.request(subscribe, &wire.Subscribe{RequestID: 2, Track: testTrack}) }, wire.ProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := accepting(TrackInfo{})
			h.trackStatus = func(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{}) }
			h.subscribeNamespace = func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() }
			p := attackStreams(t, v, true, &Config{Handler: h})
			p.t = t
			tt.do(p)
			if tt.code != 0 {
				p.closed(tt.code)
			}
		})
	}
}

// goAwayID is a request id for GOAWAY where it has one, and what an id of the other side closes the session with; else a second
// GOAWAY does.
func goAwayID(v Version, id uint64) (*uint64, SessionCode) {
	if v.Has(wire.GoAwayNamesRequest) {
		return &id, wire.InvalidRequestID
	}
	return nil, wire.ProtocolViolation
}

// TestAnswers18: what a server may not answer a client.
func TestAnswers18(t *testing.T) { onStreams(t, testAnswers18) }

func testAnswers18(t *testing.T, v Version) {
	for _, tt := range []struct {
		name   string
		answer []wire.Message
	}{
		{"FETCH_OK to SUBSCRIBE", []wire.Message{&wire.FetchOK{}}},
		{"REQUEST_OK to SUBSCRIBE", []wire.Message{&wire.RequestOK{}}},
		{"SUBSCRIBE_OK twice", []wire.Message{&wire.SubscribeOK{}, &wire.SubscribeOK{}}},
		{"GOAWAY twice", []wire.Message{&wire.GoAway{}, &wire.SubscribeOK{}, &wire.GoAway{}}},
		{"REQUEST_UPDATE from the publisher", []wire.Message{&wire.SubscribeOK{}, &wire.RequestUpdate{RequestID: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attackStreams(t, v, false, nil)
			go p.s.Subscribe(testContext(t), testTrack, SubscribeOptions{})
			cs, _ := p.accept()
			for _, m := range tt.answer {
				cs.send(m)
			}
			p.closed(wire.ProtocolViolation)
		})
	}
}

// TestStreamEndsTheRequest: in draft 18 the end of a stream stands for UNSUBSCRIBE and the like.
func TestStreamEndsTheRequest(t *testing.T) { onStreams(t, testStreamEndsTheRequest) }

func testStreamEndsTheRequest(t *testing.T, v Version) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	announced := make(chan *PublishNamespaceRequest, 1)
	h.publishNamespace = func(_ context.Context, r *PublishNamespaceRequest) { r.Accept(); announced <- r }
	p := attackStreams(t, v, true, &Config{Handler: h})
	for i, end := range []func(st Stream){
		func(st Stream) { st.CancelRead(wire.ResetCancelled) }, // STOP_SENDING alone
		func(st Stream) { st.CancelWrite(wire.ResetCancelled) },
		func(st Stream) { st.Close(); st.CancelRead(wire.ResetCancelled) }, // FIN alone says only that no update will come
	} {
		cs := p.request(&wire.Subscribe{RequestID: uint64(2 * i), Track: testTrack})
		if m, err := cs.receive(); err != nil {
			t.Fatalf("%T, %v", m, err)
		}
		end(cs.st)
		done(t, recv(t, pubs).Context())
	}
	cs := p.request(&wire.Subscribe{RequestID: 6, Track: testTrack})
	cs.receive()
	cs.st.Close()
	pub := recv(t, pubs)
	p.stillAlive(8)
	if pub.Context().Err() != nil {
		t.Error("FIN of the subscriber ended the subscription")
	}
	if err := pub.Done(wire.DoneTooFarBehind, "slow"); err != nil {
		t.Fatal(err)
	}
	if m, err := cs.receive(); err != nil || m.(*wire.PublishDone).Code != wire.DoneTooFarBehind {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := cs.receive(); err != io.EOF {
		t.Errorf("after PUBLISH_DONE: %v", err)
	}
	cs = p.request(&wire.PublishNamespace{RequestID: 10, Namespace: testTrack.Namespace})
	cs.st.Close()
	namespace := recv(t, announced)
	if !v.Has(wire.FINEnds) {
		p.stillAlive(12)
		if namespace.Context().Err() != nil {
			t.Error("FIN withdrew the namespace")
		}
		cs.st.CancelRead(wire.ResetCancelled)
	}
	done(t, namespace.Context())

	// And the publisher's side: a subscription whose stream is reset has ended, without PUBLISH_DONE.
	p = attackStreams(t, v, false, &Config{DoneTimeout: 10 * time.Millisecond})
	got := make(chan *Subscription, 1)
	go func() {
		sub, err := p.s.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		got <- sub
	}()
	cs, _ = p.accept()
	cs.send(&wire.SubscribeOK{TrackAlias: 7})
	sub := recv(t, got)
	cs.st.CancelWrite(ResetCode(wire.ResetGoingAway.Wire(v)))
	var de *DoneError
	if _, err := sub.AcceptSubgroup(ctx); !errors.As(err, &de) || de.Code != wire.DoneGoingAway {
		t.Errorf("subscription ended with %v", err)
	}
	// A request whose stream ends before its answer is refused.
	failed := make(chan error, 1)
	go func() { _, err := p.s.TrackStatus(ctx, testTrack); failed <- err }()
	cs, _ = p.accept()
	cs.st.Close()
	var re *RequestError
	if err := recv(t, failed); !errors.As(err, &re) {
		t.Errorf("TRACK_STATUS without an answer: %v", err)
	}
}

// TestUpdateBeforeTheAnswer: the first answer on a stream is that of its request.
func TestUpdateBeforeTheAnswer(t *testing.T) { onStreams(t, testUpdateBeforeTheAnswer) }

func testUpdateBeforeTheAnswer(t *testing.T, v Version) {
	answer := make(chan struct{})
	p := attackStreams(t, v, true, &Config{Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		<-answer
		r.Accept(TrackInfo{Largest: &Location{Group: 1}})
	}}})
	cs := p.request(&wire.Subscribe{RequestID: 0, Track: testTrack}, &wire.RequestUpdate{RequestID: 2}, &wire.RequestUpdate{RequestID: 4})
	p.stillAlive(6)
	close(answer)
	for i, want := range []uint64{(*wire.SubscribeOK)(nil).Type(), (*wire.RequestOK)(nil).Type(), (*wire.RequestOK)(nil).Type()} {
		if m, err := cs.receive(); err != nil || m.Type() != want {
			t.Fatalf("answer %d: %T, %v", i, m, err)
		}
	}
}

// TestPaddingAndMandatoryProperties: padding is nothing, and a track whose properties must be understood is refused.
func TestPaddingAndMandatoryProperties(t *testing.T) { onStreams(t, testPaddingAndMandatoryProperties) }

func testPaddingAndMandatoryProperties(t *testing.T, v Version) {
	p := attackStreams(t, v, true, nil)
	w := p.stream(wire.AppendVarint(nil, v, 0x132b3e28))
	w.Write(make([]byte, 100))
	p.conn.SendDatagram(append(wire.AppendVarint(nil, v, 0x132b3e29), 0, 0))
	done(t, w.Context()) // refused
	p.stillAlive(0)

	mandatory, err := wire.AppendKeyValues(nil, wire.PropertyForm, []wire.KeyValue{{Type: 0x4002, Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.request(&wire.Publish{RequestID: 2, Track: testTrack, Properties: mandatory}).receive()
	if e, ok := m.(*wire.RequestError); err != nil || !ok || e.Code != wire.RequestUnsupportedExtension {
		t.Errorf("PUBLISH: %+v, %v", m, err)
	}
	h, pubs := accepting(TrackInfo{Properties: mandatory})
	a, b := Pipe(PipeOptions{Version: v})
	c, s := NewClient(a, "relay", "/", nil), NewServer(b, &Config{Handler: h})
	run(t, c)
	run(t, s)
	var re *RequestError
	if _, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{}); !errors.As(err, &re) || re.Code != wire.RequestUnsupportedExtension {
		t.Errorf("SUBSCRIBE: %v", err)
	}
	done(t, recv(t, pubs).Context())
}

// TestDataBeforeSetup: streams may overtake SETUP and wait for it.
func TestDataBeforeSetup(t *testing.T) { onStreams(t, testDataBeforeSetup) }

func testDataBeforeSetup(t *testing.T, v Version) {
	a, b := Pipe(PipeOptions{Version: v})
	subs := make(chan *Subscription, 1)
	s := NewServer(b, &Config{Handler: handlers{publish: func(_ context.Context, r *PublishRequest) {
		sub, err := r.Accept(SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		subs <- sub
	}}})
	p := &raw18{rawPeer: rawPeer{t: t, conn: a, s: s, end: run(t, s)}, v: v}
	b18 := wire.SubgroupHeader{TrackAlias: 7, Group: 3, FirstObject: true}.Append(nil, v)
	b18 = wire.AppendSubgroupObject(b18, v, nil, false, wire.SubgroupObject{Length: 2})
	p.stream(append(b18, "hi"...)).Close()
	p.request(&wire.Publish{RequestID: 0, Track: testTrack, TrackAlias: 7})
	p.stream(messageIn(v, &wire.Setup{}))
	if h, _, payload := readObject(t, recv(t, subs)); payload != "hi" || h.Group != 3 || !h.FirstObject {
		t.Errorf("%q in %+v", payload, h)
	}
}

// TestSubscribeTracks: listing and PUBLISH are two requests in draft 18, whose prefixes do not stand in each other's way.
func TestSubscribeTracks(t *testing.T) { onStreams(t, testSubscribeTracks) }

func testSubscribeTracks(t *testing.T, v Version) {
	ctx := testContext(t)
	asked := make(chan SubscribeNamespaceOptions, 2)
	a, b := Pipe(PipeOptions{Version: v})
	c := NewClient(a, "relay", "/", nil)
	s := NewServer(b, &Config{Handler: handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) {
		asked <- r.Options
		if an, err := r.Accept(); err == nil {
			an.Add(append(r.Prefix, "x"))
		}
	}}})
	run(t, c)
	run(t, s)
	sub, err := c.SubscribeNamespace(ctx, object.Namespace{"ec"}, SubscribeNamespaceOptions{Publish: true, NoForward: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := recv(t, asked); !o.Publish || !o.NoListing || !o.NoForward {
		t.Errorf("SUBSCRIBE_TRACKS: %+v", o)
	}
	if o := recv(t, asked); o.Publish || o.NoListing {
		t.Errorf("SUBSCRIBE_NAMESPACE: %+v", o)
	}
	if ev, err := sub.Next(ctx); err != nil || ev.Namespace.String() != "ec-x" {
		t.Errorf("%+v, %v", ev, err)
	}
	sub.Close()

	p := attackStreams(t, v, false, nil)
	got := make(chan *NamespaceSubscription, 1)
	go func() {
		sub, err := p.s.SubscribeNamespace(ctx, object.Namespace{"ec"}, SubscribeNamespaceOptions{Publish: true, NoListing: true})
		if err != nil {
			t.Error(err)
		}
		got <- sub
	}()
	cs, m := p.accept()
	if _, ok := m.(*wire.SubscribeTracks); !ok {
		t.Fatalf("%T", m)
	}
	cs.send(&wire.RequestOK{})
	cs.send(&wire.PublishBlocked{Suffix: object.Namespace{"x"}, Name: "video"})
	if ev, err := recv(t, got).Next(ctx); err != nil || ev.Namespace.String() != "ec-x" || ev.Blocked == nil || *ev.Blocked != "video" {
		t.Errorf("%+v, %v", ev, err)
	}
	// An update of a namespace subscription is answered, and refused with another prefix.
	p = attackStreams(t, v, true, &Config{Handler: handlers{subscribeNamespace: func(_ context.Context, r *SubscribeNamespaceRequest) { r.Accept() }}})
	cs = p.request(&wire.SubscribeNamespace{RequestID: 0}, &wire.RequestUpdate{RequestID: 2},
		&wire.RequestUpdate{RequestID: 4, Parameters: wire.Parameters{NamespacePrefix: &object.Namespace{"a"}}})
	for i, want := range []uint64{7, 7, 5} {
		if m, err := cs.receive(); err != nil || m.Type() != want {
			t.Fatalf("answer %d: %T, %v", i, m, err)
		}
	}
	if _, err := cs.receive(); err != io.EOF {
		t.Errorf("after the refused update: %v", err)
	}
}

// TestDraftsSideBySide: a server speaks what its client chose, and the newest it can by default.
func TestDraftsSideBySide(t *testing.T) {
	for _, tt := range []struct {
		client, server []Version
		want           Version
	}{
		{nil, nil, wire.Draft22},
		{[]Version{wire.Draft20, wire.Draft18}, nil, wire.Draft20},
		{[]Version{wire.Draft18, wire.Draft16}, nil, wire.Draft18},
		{[]Version{wire.Draft16}, nil, wire.Draft16},
		{nil, []Version{wire.Draft16}, wire.Draft16},
		{[]Version{wire.Draft16, wire.Draft18}, []Version{wire.Draft18, wire.Draft16}, wire.Draft18}, // the server's choice
	} {
		c, s := dialedPair(t, "moqt", &Config{Versions: tt.client}, &Config{Versions: tt.server})
		if c.Version() != tt.want || s.Version() != tt.want {
			t.Errorf("%v with %v: %v and %v", tt.client, tt.server, c.Version(), s.Version())
		}
	}
}

// TestTimeoutsReachTheHandler: RENDEZVOUS_TIMEOUT and FILL_TIMEOUT, which draft 16 does not have.
func TestTimeoutsReachTheHandler(t *testing.T) { inMemory(t, testTimeoutsReachTheHandler) }

func testTimeoutsReachTheHandler(t *draftT) {
	ctx := testContext(t)
	subscribes, fetches := make(chan time.Duration, 1), make(chan *time.Duration, 1)
	c, _ := pipePair(t, nil, &Config{Handler: handlers{
		subscribe: func(_ context.Context, r *SubscribeRequest) {
			subscribes <- r.Rendezvous
			r.Reject(wire.RequestDoesNotExist, "")
		},
		fetch: func(_ context.Context, r *FetchRequest) {
			fetches <- r.FillTimeout
			r.Reject(wire.RequestDoesNotExist, "")
		},
	}})
	c.Subscribe(ctx, testTrack, SubscribeOptions{Rendezvous: 1500 * time.Microsecond})
	c.Fetch(ctx, testTrack, Location{}, Location{Group: 1}, FetchOptions{FillTimeout: new(time.Duration)})
	rendezvous, fill := recv(t, subscribes), recv(t, fetches)
	if t.v == wire.Draft16 {
		if rendezvous != 0 || fill != nil {
			t.Errorf("%v, %v", rendezvous, fill)
		}
	} else if rendezvous != 2*time.Millisecond || fill == nil || *fill != 0 {
		t.Errorf("%v, %v", rendezvous, fill)
	}
}

// TestRedirectIsShown: who asked learns where to ask instead, and the session goes on.
func TestRedirectIsShown(t *testing.T) { onStreams(t, testRedirectIsShown) }

func testRedirectIsShown(t *testing.T, v Version) {
	p := attackStreams(t, v, false, nil)
	ctx := testContext(t)
	refused := make(chan error, 1)
	go func() {
		_, err := p.s.Subscribe(ctx, testTrack, SubscribeOptions{})
		refused <- err
	}()
	cs, m := p.accept()
	if _, ok := m.(*wire.Subscribe); !ok {
		t.Fatalf("%T", m)
	}
	to := Redirect{URI: "moqt://elsewhere:4443/", Track: object.TrackName{Namespace: object.Namespace{"ec", "other"}, Name: "ts"}}
	if err := cs.send(&wire.RequestError{Code: wire.RequestRedirect, Reason: "moved", Redirect: &to}); err != nil {
		t.Fatal(err)
	}
	var e *RequestError
	if err := recv(t, refused); !errors.As(err, &e) || e.Code != wire.RequestRedirect || e.Redirect == nil || e.Redirect.URI != to.URI || !e.Redirect.Track.Equal(to.Track) {
		t.Errorf("%+v", e)
	}
	p.stillAlive(1)
}
