package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// TestStreamsBeforeTheirAlias: streams that overtake SUBSCRIBE_OK are held, up to a bound and for a time.
func TestStreamsBeforeTheirAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{Version: wire.Draft16, MaxStreams: 1000})
		s := NewClient(a, "", "/", &Config{MaxPendingStreams: 10})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		st, err := b.AcceptStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := &rawPeer{t: t, conn: b, s: s, ctrl: newControlStream(st, wire.Draft16)}
		p.receive()
		p.send(&wire.ServerSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100))}})

		var early []SendStream
		for range 15 {
			w, err := b.OpenUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(unhex("30 07 00 00 01 aa"))
			early = append(early, w)
		}
		got := make(chan *Subscription, 1)
		go func() {
			sub, err := s.Subscribe(ctx, testTrack, SubscribeOptions{})
			if err != nil {
				t.Error(err)
			}
			got <- sub
		}()
		p.receive()
		synctest.Wait()
		p.send(&wire.SubscribeOK{TrackAlias: 7})
		sub := <-got
		synctest.Wait()
		refused := 0
		for _, w := range early {
			if w.Context().Err() != nil {
				refused++
			}
		}
		if refused != 5 {
			t.Errorf("%d of 15 streams refused, want those over 10", refused)
		}
		for range 10 {
			if _, err := sub.AcceptSubgroup(ctx); err != nil {
				t.Fatal(err)
			}
		}
		late, err := b.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		late.Write(unhex("30 09 00 00 01 aa")) // an alias that never comes
		start := time.Now()
		<-late.Context().Done()
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("refused after %v", waited)
		}
		sub.Unsubscribe()
		stray, err := b.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stray.Write(unhex("30 07 00 00 01 aa"))
		start = time.Now()
		<-stray.Context().Done()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("stream of an ended subscription refused after %v", waited)
		}
		cancel()
		<-ended
	})
}

// TestPublishDoneWaitsForStreams: PUBLISH_DONE overtakes streams; its count says for how many to wait, not for ever.
func TestPublishDoneWaitsForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			count    uint64
			late     bool // the second stream comes
			waited   time.Duration
			subgroup int
		}{
			{1, false, 0, 1},
			{2, true, 0, 2},
			{2, false, 5 * time.Second, 1},
			{UnknownStreamCount, true, 5 * time.Second, 2},
		} {
			a, b := Pipe(PipeOptions{Version: wire.Draft16})
			s := NewClient(a, "", "/", nil)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			st, err := b.AcceptStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			p := &rawPeer{t: t, conn: b, s: s, ctrl: newControlStream(st, wire.Draft16)}
			p.receive()
			p.send(&wire.ServerSetup{Parameters: wire.SetupParameters{MaxRequestID: ptr(uint64(100))}})
			got := make(chan *Subscription, 1)
			go func() {
				sub, _ := s.Subscribe(ctx, testTrack, SubscribeOptions{})
				got <- sub
			}()
			p.receive()
			p.send(&wire.SubscribeOK{TrackAlias: 7})
			sub := <-got
			open := func() {
				w, err := b.OpenUniStream(ctx)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(unhex("30 07 00 00 01 aa"))
				w.Close()
			}
			open()
			synctest.Wait()
			p.send(&wire.PublishDone{Code: wire.DoneTrackEnded, StreamCount: tt.count})
			synctest.Wait()
			if tt.late {
				open()
			}
			start := time.Now()
			n := 0
			for ; err == nil; n++ {
				var g *SubgroupReader
				if g, err = sub.AcceptSubgroup(ctx); err == nil {
					_, err = g.Next()
				}
			}
			if n-1 != tt.subgroup || !errors.Is(err, io.EOF) || time.Since(start) != tt.waited {
				t.Errorf("count %d: %d subgroups, then %v after %v", tt.count, n-1, err, time.Since(start))
			}
			cancel()
			<-ended
		}
	})
}

// TestSlowReader: a subscriber that does not read holds its publisher back: nothing is dropped, nothing piles up.
func TestSlowReader(t *testing.T) {
	overQUIC(t, func(t *draftT) {
		const groups, streams, late = 1800, 8, 3
		ctx := testContext(t)
		h, pubs := accepting(TrackInfo{})
		c, _ := pipePair(t, &Config{MaxStreams: streams}, &Config{Handler: h})
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		var opened = make(chan uint64, groups)
		open := make(chan *SubgroupWriter, 1) // the late one, not ended yet
		published := make(chan error, 1)
		go func() {
			for g := range uint64(groups) {
				w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: g})
				if err == nil {
					err = w.WriteObject(0, nil, wire.StatusNormal, []byte("object"))
				}
				if err == nil && g != late {
					err = w.Close()
				}
				if err != nil {
					published <- err
					return
				}
				if opened <- g; g == late {
					open <- w
				}
			}
			published <- p.Done(wire.DoneTrackEnded, "")
		}()
		// So many are taken and lie unread, and as many again may lie unaccepted in the transport. A stream returns the
		// transport's credit when its end is read with its header. That of one stream comes later for sure; that of another
		// may, because object and FIN need not leave in one packet. Each makes room for one less.
		for range streams {
			recv(t, opened)
		}
		most := 2*streams - 1
		if t.v.SetupStream() == 0 {
			most++ // no control stream takes the one that is there for it
		}
		for n, still := streams, false; !still; n++ {
			select {
			case g := <-opened:
				if n >= most {
					t.Fatalf("group %d went out without credit", g)
				}
			case <-time.After(50 * time.Millisecond):
				still = true
			}
		}
		if err := recv(t, open).Close(); err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		for {
			g, err := sub.AcceptSubgroup(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Next(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(g); err != nil || string(b) != "object" {
				t.Fatal(err)
			}
			if _, err := g.Next(); err != io.EOF {
				t.Fatal(err)
			}
			seen[g.Header().Group] = true
		}
		if len(seen) != groups {
			t.Errorf("%d of %d groups arrived", len(seen), groups)
		}
		if err := recv(t, published); err != nil {
			t.Error(err)
		}
	})
}

// TestManyOpenSubgroups: more subgroups open at a time than the usual 100 streams.
func TestManyOpenSubgroups(t *testing.T) {
	overQUIC(t, func(t *draftT) {
		ctx := testContext(t)
		h, pubs := accepting(TrackInfo{})
		c, _ := pipePair(t, nil, &Config{Handler: h})
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		var ws []*SubgroupWriter
		for i := range uint64(301) {
			w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 1, Subgroup: i})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteObject(i, nil, wire.StatusNormal, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			ws = append(ws, w)
		}
		for range ws {
			g, err := sub.AcceptSubgroup(ctx)
			if err != nil {
				t.Fatal(err)
			}
			o, err := g.Next()
			if err != nil || o.ID != g.Header().Subgroup {
				t.Fatalf("%+v in %+v, %v", o, g.Header(), err)
			}
		}
		if err := p.Done(wire.DoneTrackEnded, ""); err != nil { // resets them all
			t.Fatal(err)
		}
		if _, err := sub.AcceptSubgroup(ctx); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		for _, w := range ws {
			done(t, w.Context())
		}
	})
}

func TestPeerGone(t *testing.T) {
	overQUIC(t, func(t *draftT) {
		ctx := testContext(t)
		h, pubs := accepting(TrackInfo{})
		conf := &Config{Handler: h, IdleTimeout: 300 * time.Millisecond, KeepAlive: -1}
		c, s := pipePair(t, &Config{IdleTimeout: 300 * time.Millisecond, KeepAlive: -1}, conf)
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		// Nobody says anything any more: both ends notice.
		done(t, s.Context())
		done(t, c.Context())
		if err := done(t, p.Context()); err == nil {
			t.Error("publication goes on")
		}
		if _, err := sub.AcceptSubgroup(ctx); !errors.Is(err, ErrClosed) {
			t.Errorf("subscription: %v", err)
		}
	})
}

// TestPeerThatDoesNotRead: answers to a peer that reads nothing pile up no further than its requests allow, and end the session.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(PipeOptions{Version: wire.Draft16, Window: 500})
		s := NewServer(b, nil)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background()) }()
		st, err := a.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		st.Write(message(&wire.ClientSetup{}))
		start := time.Now()
		for id := uint64(0); err == nil && id < 100_000; id += 2 {
			_, err = st.Write(message(&wire.TrackStatus{Subscribe: wire.Subscribe{RequestID: id, Track: testTrack}}))
		}
		var se *SessionError
		if err := <-ended; !errors.As(err, &se) || se.Code != wire.TooManyRequests && se.Code != wire.ControlMessageTimeout {
			t.Errorf("ended with %v", err)
		}
		if waited := time.Since(start); waited > controlTimeout {
			t.Errorf("after %v", waited)
		}
	})
}

// TestResetWithoutCredit: streams that are reset while the connection has no flow control credit left break nothing.
func TestResetWithoutCredit(t *testing.T) {
	overQUIC(t, func(t *draftT) {
		ctx := testContext(t)
		h, pubs := accepting(TrackInfo{})
		c, _ := pipePair(t, &Config{DoneTimeout: 300 * time.Millisecond}, &Config{Handler: h})
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		var ws []*SubgroupWriter
		for g := range uint64(12) { // twelve streams of 1 MiB for a window of 4 MiB that nobody reads from
			w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: g})
			if err != nil {
				t.Fatal(err)
			}
			w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			w.WriteObject(0, nil, wire.StatusNormal, make([]byte, 1<<20)) // the later ones miss the deadline
			ws = append(ws, w)
		}
		for _, w := range ws {
			w.Reset(wire.ResetDeliveryTimeout)
		}
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 100})
		if err != nil {
			t.Fatal(err)
		}
		w.Reset(wire.ResetCancelled) // nothing was written at all
		go p.Done(wire.DoneTooFarBehind, "")
		for {
			g, err := sub.AcceptSubgroup(ctx)
			var end *DoneError
			if errors.As(err, &end) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				if _, err = g.Next(); err == nil {
					_, err = io.Copy(io.Discard, g)
				}
			}
			var reset *StreamResetError
			if !errors.As(err, &reset) {
				t.Fatalf("group %d: %v", g.Header().Group, err)
			}
		}
		var e *RequestError
		if _, err := c.TrackStatus(ctx, testTrack); !errors.As(err, &e) {
			t.Errorf("the session is gone: %v", err)
		}
	})
}

// TestResetDelivered: the objects before the reset arrive, with credit or after it came.
func TestResetDelivered(t *testing.T) {
	ctx := testContext(t)
	h, pubs := accepting(TrackInfo{})
	c, _ := pipePair(t, nil, &Config{Handler: h}) // QUIC cannot yet
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	w, err := p.OpenSubgroup(ctx, SubgroupHeader{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(20) {
		if err := w.WriteObject(id, nil, wire.StatusNormal, make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
	}
	w.ResetDelivered(wire.ResetInternalError)
	g, err := sub.AcceptSubgroup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(20) {
		o, err := g.Next()
		if err != nil || o.ID != id || o.Size != 3000 {
			t.Fatalf("object %d: %+v, %v", id, o, err)
		}
	}
	var reset *StreamResetError
	if _, err := g.Next(); !errors.As(err, &reset) || reset.Code != wire.ResetInternalError {
		t.Errorf("after the last object: %v", err)
	}
}
