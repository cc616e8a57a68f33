package moqt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// FuzzSession18 plays a peer that says anything at any time in draft 18 and later ones: requests on streams of their own, any message on any
// of those, answers to what the session asks, streams cut, reset and refused. See FuzzSession.
func FuzzSession18(f *testing.F) {
	f.Add(true, []byte{0, 0, 1, 12, 0, 16, 1, 2, 3, 2, 4, 1, 4, 6, 0, 34, 0, 1, 26, 7, 1})
	f.Add(false, []byte{20, 0, 0, 20, 0, 0, 20, 0, 0, 20, 0, 0, 10, 0, 4, 10, 1, 8, 10, 2, 5, 26, 7, 1, 10, 0, 3, 30, 0, 0})
	f.Add(true, []byte{5, 0, 0, 6, 2, 0, 10, 0, 16, 38, 0, 0, 32, 0, 0, 40, 9, 9, 42, 0, 0})
	f.Fuzz(func(t *testing.T, server bool, program []byte) {
		if len(program) > 300 {
			return
		}
		for _, v := range wire.Versions() {
			if v.RequestStreams() {
				synctest.Test(t, func(t *testing.T) { playAnything18(t, v, server, program) })
			}
		}
	})
}

func playAnything18(t *testing.T, v Version, server bool, program []byte) {
	conf := &Config{
		Handler: anything{}, MaxRequests: 20, MaxStreams: 20, MaxPendingStreams: 4, MaxTokenCache: 200, MaxObjectSize: 1 << 20,
	}
	a, b := Pipe(PipeOptions{Version: v, MaxStreams: 64})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := NewClient(b, "", "/", conf)
	if server {
		s = NewServer(b, conf)
	}
	go func() { ended <- s.Run(ctx) }()
	ctrl, err := a.OpenUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ctrl.Write(messageIn(v, &wire.Setup{}))
	drain := func(r ReceiveStream) { // what the session says is read and thrown away
		buf := make([]byte, 4096)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			st, err := a.AcceptUniStream(ctx)
			if err != nil {
				return
			}
			go drain(st)
		}
	}()
	synctest.Wait()
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
	var requests []Stream
	for ; len(program) >= 3; program = program[3:] {
		op, x, y := program[0], uint64(program[1]), program[2]
		var some Stream
		if len(requests) > 0 {
			some = requests[int(x)%len(requests)]
		}
		switch {
		case op < 10: // a request, or what is none
			if w, err := a.OpenStream(timeoutNow(ctx)); err == nil {
				w.Write(messageIn(v, anyMessage18(v, op, x, uint64(y))))
				requests = append(requests, w)
				go drain(w)
			}
		case op < 20:
			if some != nil {
				some.Write(messageIn(v, anyMessage18(v, y%20, x, uint64(op))))
			}
		case op < 24: // a request of the session
			if w, err := a.AcceptStream(timeoutNow(ctx)); err == nil {
				requests = append(requests, w)
				go drain(w)
			}
		case op < 30:
			if w, err := a.OpenUniStream(timeoutNow(ctx)); err == nil {
				w.Write(anyStream(op-4, x, y))
				open = append(open, w)
			}
		case op < 32:
			if some != nil {
				some.Close()
			}
		case op < 34:
			if some != nil {
				some.CancelWrite(ResetCode(y))
			}
		case op < 36:
			if some != nil {
				some.CancelRead(ResetCode(y))
			}
		case op < 38:
			if len(open) > 0 {
				open[int(x)%len(open)].Close()
			}
		case op < 40:
			if len(open) > 0 {
				open[int(x)%len(open)].CancelWrite(ResetCode(y))
			}
		case op < 44:
			d := wire.Datagram{TrackAlias: x, Group: uint64(y), Payload: []byte("d")}
			if b, err := d.Append(nil, v); err == nil {
				a.SendDatagram(b)
			}
		case op < 48:
			time.Sleep(time.Duration(y) * 100 * time.Millisecond) // of the bubble's clock
		case op < 50:
			s.GoAway("")
		case op < 52:
			ctrl.Write(messageIn(v, &wire.GoAway{RequestID: ptr(x)}))
		case op < 53:
			ctrl.Close()
		case op < 54:
			ctrl.Write(messageIn(v, anyMessage18(v, y%20, x, 0)))
		default:
			if some != nil {
				some.Write([]byte{op, byte(x), y}) // raw
			}
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

// messageIn is nil for what a draft cannot say.
func messageIn(v Version, m wire.Message) []byte {
	b, err := wire.AppendMessage(nil, v, m)
	if err != nil {
		return nil
	}
	return b
}

// anyMessage18 makes message number op with ids and values from x and y, as the draft has it.
func anyMessage18(v Version, op byte, x, y uint64) wire.Message {
	name := object.TrackName{Namespace: testTrack.Namespace, Name: string(rune('a' + y%3))}
	var p wire.Parameters
	if y&8 != 0 {
		p.Tokens = []Token{{AliasType: wire.TokenAliasType(y >> 4 & 3), Alias: y & 3, Value: make([]byte, y>>2)}}
	}
	if v.Has(wire.Fills) {
		if m := anyMessage20(op, x, y, name); m != nil {
			return m
		}
	}
	switch op {
	case 0, 1:
		return &wire.Subscribe{RequestID: x, Track: name, Parameters: p}
	case 2:
		return &wire.Publish{RequestID: x, Track: name, TrackAlias: y, Parameters: p}
	case 3:
		return &wire.Fetch{RequestID: x, FetchType: wire.FetchStandalone, Track: name, End: Location{Group: y}, Parameters: p}
	case 4:
		return &wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: x, Track: name, Parameters: p}}
	case 5:
		return &wire.PublishNamespace{RequestID: x, Namespace: name.Namespace, Parameters: p}
	case 6:
		return &wire.SubscribeNamespace{RequestID: x, Prefix: object.Namespace{string(rune('a' + y%3))}, Parameters: p}
	case 7:
		return &wire.SubscribeTracks{RequestID: x, Prefix: object.Namespace{string(rune('a' + y%3))}, Parameters: p}
	case 8:
		return &wire.Fetch{RequestID: x, FetchType: wire.FetchRelativeJoining, JoiningRequestID: y}
	case 9, 10:
		return &wire.RequestOK{}
	case 11:
		return &wire.RequestError{Code: RequestCode(y)}
	case 12:
		return &wire.SubscribeOK{TrackAlias: y}
	case 13:
		return &wire.FetchOK{End: Location{Group: y}}
	case 14:
		return &wire.PublishDone{Code: DoneCode(y), StreamCount: y & 3}
	case 15, 16:
		return &wire.RequestUpdate{RequestID: x, Parameters: p}
	case 17:
		return &wire.GoAway{}
	case 18:
		return &wire.PublishBlocked{Name: "x"}
	}
	return &wire.Namespace{Suffix: testTrack.Namespace}
}

// anyMessage20 makes what is new in draft 20; nil: nothing is.
func anyMessage20(op byte, x, y uint64, name object.TrackName) wire.Message {
	var p wire.Parameters
	if y&4 != 0 {
		p.Fill = &wire.Parameters{SubscriptionFilter: &Filter{Type: wire.FilterRelativeStart, Groups: y >> 3}}
	}
	if y&16 != 0 {
		p.RangeFilters = []wire.KeyValue{{Type: 0x25 + y&3, Bytes: []byte{byte(y & 1), byte(x), byte(y)}}}
	}
	if y&32 != 0 {
		p.SubscriptionFilter = &Filter{Type: wire.FilterObjectRange, Start: Location{Group: y & 1}, EndGroup: y, EndObject: x}
	}
	switch op {
	case 1:
		p.IncludeProperties = ptr(y&1 != 0)
		return &wire.Subscribe{RequestID: x, Track: name, Parameters: p}
	case 7:
		return &wire.SubscribeTracks{RequestID: x, Parameters: p}
	case 8:
		return &wire.Fetch{RequestID: x, FetchType: wire.FetchRelative, Track: name, Groups: y, Parameters: wire.Parameters{RangeFilters: p.RangeFilters}}
	case 16:
		return &wire.RequestUpdate{RequestID: x, Parameters: p}
	case 18:
		return &wire.PublishStateNotify{Parameters: wire.Parameters{SubscriptionFilter: p.SubscriptionFilter}}
	}
	return nil
}
