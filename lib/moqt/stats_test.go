package moqt

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// TestStats: both ends count the same of what they share, and a Tally keeps it after the sessions.
func TestStats(t *testing.T) {
	everywhere(t, func(t *draftT) {
		ctx := testContext(t)
		var tally Tally
		fetched := make(chan struct{})
		h, pubs := accepting(TrackInfo{})
		h.fetch = func(_ context.Context, r *FetchRequest) {
			if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
				w.WriteObject(FetchObject{Group: 1, ID: 2}, []byte("fetched"))
				w.Close()
			}
			close(fetched) // what is sent is counted behind the write
		}
		c, s := pipePair(t, nil, &Config{Handler: h, Tally: &tally})
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		for g := range uint64(3) {
			writeObject(t, p, g, 0, "object")
			readObject(t, sub)
		}
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 9})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(0, nil, wire.StatusNormal, []byte("x")); err != nil {
			t.Fatal(err)
		}
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(g); err != nil {
			t.Fatal(err)
		}
		w.Reset(wire.ResetDeliveryTimeout)
		var reset *StreamResetError
		if _, err := g.Next(); !errors.As(err, &reset) {
			t.Fatalf("after the reset: %v", err)
		}
		if err := p.SendDatagram(Datagram{Payload: []byte("d")}); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.AcceptDatagram(ctx); err != nil {
			t.Fatal(err)
		}
		f, err := c.Fetch(ctx, testTrack, Location{Group: 1}, Location{Group: 2}, FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Info(ctx); err != nil { // the objects may overtake FETCH_OK
			t.Fatal(err)
		}
		recv(t, fetched)
		var re *RequestError
		if _, err := c.TrackStatus(ctx, testTrack); !errors.As(err, &re) {
			t.Fatal(err)
		}
		want := Traffic{Streams: 5, Objects: 5, Bytes: 3*6 + 1 + 7, Datagrams: 1}
		cs, ss := c.Stats(), s.Stats()
		if cs.Received != want || ss.Sent != want || cs.Sent != (Traffic{}) || ss.Received != (Traffic{}) {
			t.Errorf("received %+v, sent %+v, want %+v", cs.Received, ss.Sent, want)
		}
		for name, want := range map[string]Outcomes{"SUBSCRIBE": {Accepted: 1}, "FETCH": {Accepted: 1}, "TRACK_STATUS": {Refused: 1}} {
			if cs.RequestsSent[name] != want || ss.RequestsReceived[name] != want {
				t.Errorf("%s: sent %+v, received %+v, want %+v", name, cs.RequestsSent[name], ss.RequestsReceived[name], want)
			}
		}
		if cs.ResetsReceived[wire.ResetDeliveryTimeout] != 1 || ss.ResetsSent[wire.ResetDeliveryTimeout] != 1 || len(cs.ResetsSent) > 0 {
			t.Errorf("resets received %v, sent %v", cs.ResetsReceived, ss.ResetsSent)
		}
		if n := tally.Stats(); n.Sessions != 1 || n.Sent != want {
			t.Errorf("tally %+v", n)
		}
		c.Close(wire.NoError, "")
		done(t, s.Context())
		for deadline := time.Now().Add(10 * time.Second); tally.Stats().Sessions > 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) // Run ends
		}
		if n := tally.Stats(); n.Sessions != 0 || n.Sent != want || n.Ended[wire.NoError] != 1 {
			t.Errorf("tally after the session: %+v", n)
		}
	})
}

// TestStatsOfLimits: what runs into a limit is counted under its name.
func TestStatsOfLimits(t *testing.T) {
	p := attackClient(t, &Config{MaxObjectSize: 10, MaxPropertiesSize: 10})
	sub := p.subscribed()
	for _, b := range []string{"30 07 00 00 0b", "31 07 01 00 0b"} {
		p.stream(unhex(b))
		g, err := sub.AcceptSubgroup(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Next(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v", err)
		}
	}
	st := p.s.Stats()
	if st.Limits["MaxObjectSize"] != 1 || st.Limits["MaxPropertiesSize"] != 1 || st.StopsSent[wire.ResetCancelled] != 2 {
		t.Errorf("%+v", st)
	}
}
