package moqt

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// FuzzSession plays a peer that says anything at any time: valid messages in any order, with ids that may or may not
// exist, streams and datagrams for any alias, cut or whole, and raw bytes. The session must neither panic nor hang nor
// leave anything running, whichever way it ends.
func FuzzSession(f *testing.F) {
	f.Add(true, []byte{0, 0, 1, 0, 20, 0, 7, 21, 0, 7, 2, 0, 3, 2, 9, 4, 40, 0})
	f.Add(false, []byte{4, 0, 7, 20, 7, 1, 23, 7, 1, 6, 0, 0, 22, 0, 7, 9, 0, 5})
	f.Add(true, []byte{10, 0, 0, 11, 0, 0, 12, 2, 0, 3, 4, 2, 5, 6, 0, 24, 8, 0, 25, 10, 1})
	f.Fuzz(func(t *testing.T, server bool, program []byte) {
		if len(program) > 300 {
			return
		}
		synctest.Test(t, func(t *testing.T) { playAnything(t, server, program) })
	})
}

func playAnything(t *testing.T, server bool, program []byte) {
	conf := &Config{
		Handler: anything{}, MaxRequests: 20, MaxStreams: 20, MaxPendingStreams: 4, MaxTokenCache: 200, MaxObjectSize: 1 << 20,
	}
	a, b := Pipe(PipeOptions{Version: wire.Draft16, MaxStreams: 64})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var s *Session
	var st Stream
	var err error
	var setup wire.Message = &wire.ServerSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(40))}}
	if server {
		s = NewServer(b, conf)
		st, err = a.OpenStream(ctx)
		setup = &wire.ClientSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(40))}}
	} else {
		s = NewClient(b, "", "/", conf)
	}
	go func() { ended <- s.Run(ctx) }()
	if !server {
		st, err = a.AcceptStream(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	st.Write(message(setup))
	go func() { // what the session says is read and thrown away
		buf := make([]byte, 4096)
		for {
			if _, err := st.Read(buf); err != nil {
				return
			}
		}
	}()
	synctest.Wait()
	// Own requests are under way while the peer plays.
	callers := make(chan struct{}, 8)
	calls := ownRequests(ctx, s)
	for _, call := range calls {
		go func() {
			call()
			callers <- struct{}{}
		}()
	}
	synctest.Wait()
	var open []SendStream
	for ; len(program) >= 3; program = program[3:] {
		op, x, y := program[0], uint64(program[1]), program[2]
		switch {
		case op < 19:
			st.Write(message(anyMessage(op, x, uint64(y))))
		case op < 30:
			if w, err := a.OpenUniStream(timeoutNow(ctx)); err == nil {
				w.Write(anyStream(op, x, y))
				open = append(open, w)
			}
		case op < 34:
			if len(open) > 0 {
				open[int(x)%len(open)].Close()
			}
		case op < 36:
			if len(open) > 0 {
				open[int(x)%len(open)].CancelWrite(ResetCode(y))
			}
		case op < 40:
			d := wire.Datagram{TrackAlias: x, Group: uint64(y), Payload: []byte("d")}
			if b, err := d.Append(nil, wire.Draft16); err == nil {
				a.SendDatagram(b)
			}
		case op < 44:
			if w, err := a.OpenStream(timeoutNow(ctx)); err == nil {
				w.Write(message(anyMessage(y%2*13+17, x, uint64(y))))
				if y&4 != 0 {
					w.Close()
				}
			}
		case op < 48: // answer a stream of the session's
			if w, err := a.AcceptStream(timeoutNow(ctx)); err == nil {
				w.Write(message(anyMessage(5, x, uint64(y))))
				w.Write(message(&wire.Namespace{Suffix: testTrack.Namespace}))
			}
		case op < 52:
			time.Sleep(time.Duration(y) * 100 * time.Millisecond) // of the bubble's clock
		case op < 54:
			s.GoAway("")
		case op < 55:
			st.Close()
		default:
			st.Write([]byte{op, byte(x), y}) // raw
		}
		synctest.Wait()
	}
	cancel()
	<-ended
	for range calls {
		<-callers
	}
	a.CloseWithError(0, "")
	synctest.Wait()
	if left := s.requests.all(); len(left) > 0 {
		t.Errorf("left over: %d requests", len(left))
	}
}

// ownRequests are requests of the session under test, of every kind.
func ownRequests(ctx context.Context, s *Session) []func() error {
	return []func() error{
		func() error {
			sub, err := s.Subscribe(ctx, testTrack, SubscribeOptions{})
			consume(ctx, sub, err)
			return err
		},
		func() error {
			f, err := s.Fetch(ctx, testTrack, Location{}, Location{Group: 5}, FetchOptions{})
			for err == nil {
				_, err = f.Next()
			}
			return err
		},
		func() error { _, err := s.PublishNamespace(ctx, testTrack.Namespace); return err },
		func() error { _, err := s.TrackStatus(ctx, testTrack); return err },
		func() error {
			p, err := s.Publish(ctx, testTrack, PublishOptions{})
			if err == nil {
				writeSome(ctx, p)
			}
			return err
		},
		func() error {
			n, err := s.SubscribeNamespace(ctx, nil, SubscribeNamespaceOptions{})
			for err == nil {
				_, err = n.Next(ctx)
			}
			return err
		},
	}
}

// timeoutNow is a context that gives what is there at once a chance and then ends.
func timeoutNow(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func consume(ctx context.Context, sub *Subscription, err error) {
	for err == nil {
		var g *SubgroupReader
		if g, err = sub.AcceptSubgroup(ctx); err == nil {
			for err == nil {
				_, err = g.Next()
			}
			g.Cancel(0)
			err = nil
		}
		runtime.Gosched()
	}
}

func writeSome(ctx context.Context, p *Publication) {
	for g := range uint64(3) {
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: g})
		if err != nil {
			break
		}
		w.WriteObject(0, nil, wire.StatusNormal, make([]byte, 100))
		w.Close()
	}
	p.Done(wire.DoneTrackEnded, "")
}

// anything is a handler that uses every answer there is.
type anything struct{}

func (anything) Subscribe(ctx context.Context, r *SubscribeRequest) {
	if p, err := r.Accept(TrackInfo{Largest: &Location{Group: 3, Object: 1}}); err == nil {
		writeSome(ctx, p)
	}
}

func (anything) Fetch(_ context.Context, r *FetchRequest) {
	if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
		w.WriteObject(FetchObject{Group: r.Start.Group}, []byte("x"))
		w.Close()
	}
}

func (anything) TrackStatus(_ context.Context, r *TrackStatusRequest) { r.Accept(TrackInfo{}) }

func (anything) SubscribeNamespace(_ context.Context, r *SubscribeNamespaceRequest) {
	if a, err := r.Accept(); err == nil {
		a.Add(append(append(object.Namespace{}, r.Prefix...), "x"))
		a.Remove(append(append(object.Namespace{}, r.Prefix...), "x"))
	}
}

func (anything) PublishNamespace(ctx context.Context, r *PublishNamespaceRequest) {
	if r.Accept() == nil {
		<-ctx.Done()
	}
}

func (anything) Publish(ctx context.Context, r *PublishRequest) {
	sub, err := r.Accept(SubscribeOptions{})
	consume(ctx, sub, err)
}

// anyMessage makes message number op with ids and values from x and y.
func anyMessage(op byte, x, y uint64) wire.Message {
	name := object.TrackName{Namespace: testTrack.Namespace, Name: string(rune('a' + y%3))}
	var p wire.Parameters
	if y&8 != 0 {
		p.Tokens = []Token{{AliasType: wire.TokenAliasType(y >> 4 & 3), Alias: y & 3, Value: make([]byte, y>>2)}}
	}
	if y&1 != 0 {
		p.SubscriptionFilter = &Filter{Type: wire.FilterType(y>>1&3 + 1)}
	}
	switch op {
	case 0:
		return &wire.Subscribe{RequestID: x, Track: name, Parameters: p}
	case 1:
		return &wire.Unsubscribe{RequestID: x}
	case 2:
		return &wire.Publish{RequestID: x, Track: name, TrackAlias: y, Parameters: p}
	case 3:
		return &wire.PublishDone{RequestID: x, StreamCount: y}
	case 4:
		return &wire.SubscribeOK{RequestID: x, TrackAlias: y}
	case 5:
		return &wire.RequestOK{RequestID: x}
	case 6:
		return &wire.RequestError{RequestID: x, Code: RequestCode(y)}
	case 7:
		return &wire.PublishOK{RequestID: x, Parameters: p}
	case 8:
		return &wire.FetchOK{RequestID: x, End: Location{Group: y}}
	case 9:
		return &wire.Fetch{RequestID: x, FetchType: wire.FetchStandalone, Track: name, End: Location{Group: y}, Parameters: p}
	case 10:
		return &wire.Fetch{RequestID: x, FetchType: wire.FetchRelativeJoining, JoiningRequestID: y}
	case 11:
		return &wire.FetchCancel{RequestID: x}
	case 12:
		return &wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: x, Track: name, Parameters: p}}
	case 13:
		return &wire.PublishNamespace{RequestID: x, Namespace: name.Namespace, Parameters: p}
	case 14:
		return &wire.PublishNamespaceDone{RequestID: x}
	case 15:
		return &wire.PublishNamespaceCancel{RequestID: x}
	case 16:
		return &wire.RequestUpdate{RequestID: x, ExistingRequestID: y, Parameters: p}
	case 17:
		return &wire.MaxRequestID{MaxRequestID: x}
	case 18:
		return &wire.GoAway{}
	}
	return &wire.SubscribeNamespace{RequestID: x, Prefix: object.Namespace{string(rune('a' + y%3))}, Parameters: p}
}

// anyStream makes the beginning of a data stream.
func anyStream(op byte, x uint64, y byte) []byte {
	if op < 22 {
		return append(wire.AppendFetchHeader(nil, wire.Draft16, x), 0x1c, 0, y, 0x80, 2, 'a')
	}
	b := wire.SubgroupHeader{TrackAlias: x, Group: uint64(y), HasProperties: y&1 != 0}.Append(nil, wire.Draft16)
	if y&1 != 0 {
		return append(b, 0, 2, 0x3c, y&63, 3, 'a', 'b', 'c')
	}
	return append(b, 0, 2, 'a', 'b')
}
