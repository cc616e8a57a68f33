package moqt

import (
	"context"
	"errors"
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

// TestObjectsWithPropertiesOfTracks: an object with a property that only tracks may have, and only those may use who understand it, ends
// its subscription or fetch, and the session goes on; drafts before 18 have no such properties.
func TestObjectsWithPropertiesOfTracks(t *testing.T) {
	everywhere(t, func(t *draftT) {
		ctx := testContext(t)
		props, err := wire.AppendKeyValues(nil, wire.PropertyForm, []wire.KeyValue{{Type: 0x20, Value: 1}, {Type: 0x4002, Value: 1}})
		if err != nil {
			t.Fatal(err)
		}
		h, pubs := accepting(TrackInfo{})
		h.fetch = func(_ context.Context, r *FetchRequest) {
			if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
				w.WriteObject(FetchObject{Group: 1, ID: 2, Properties: props}, []byte("x"))
				w.Close()
			}
		}
		c, _ := pipePair(t, nil, &Config{Handler: h})
		refused := t.v.RequestStreams()
		check := func(what string, sub *Subscription, err error) {
			t.Helper()
			if !refused {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				return
			}
			if !errors.Is(err, wire.ErrMalformedTrack) {
				t.Errorf("%s: %v, want %v", what, err, wire.ErrMalformedTrack)
			}
			done, ok := errors.AsType[*DoneError](sub.endOf(ctx))
			if !ok || done.Code != wire.DoneMalformedTrack {
				t.Errorf("%s: the subscription ended with %v", what, done)
			}
		}

		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := recv(t, pubs).OpenSubgroup(ctx, SubgroupHeader{Group: 1, HasProperties: true})
		if err == nil {
			err = w.WriteObject(0, props, wire.StatusNormal, []byte("x"))
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Next()
		check("on a stream", sub, err)
		sub.Unsubscribe()

		if sub, err = c.Subscribe(ctx, testTrack, SubscribeOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := recv(t, pubs).SendDatagram(Datagram{Properties: props, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		_, err = sub.AcceptDatagram(ctx)
		if done, ok := errors.AsType[*DoneError](err); ok != refused || ok && done.Code != wire.DoneMalformedTrack {
			t.Errorf("as a datagram: %v", err)
		}

		f, err := c.Fetch(ctx, testTrack, Location{Group: 1}, Location{Group: 2}, FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Next(); errors.Is(err, wire.ErrMalformedTrack) != refused {
			t.Errorf("in a fetch: %v", err)
		}
		if c.Context().Err() != nil {
			t.Error("the session is over")
		}
	})
}

// endOf is how the subscription ends.
func (sub *Subscription) endOf(ctx context.Context) error {
	for {
		if _, err := sub.AcceptSubgroup(ctx); err != nil {
			return err
		}
	}
}

// TestGrease: SETUP has an option without a meaning, another one in each session, and peers do without it.
func TestGrease(t *testing.T) {
	inMemory(t, func(t *draftT) {
		seen := map[uint64]bool{}
		for range 8 {
			c, _ := pipePair(t, nil, nil)
			p := c.ownParameters()
			if p.Grease < 0x9d || (p.Grease-0x9d)%0x7f != 0 {
				t.Fatalf("%#x", p.Grease)
			}
			seen[p.Grease] = true
		}
		if len(seen) == 1 {
			t.Error("always the same")
		}
		if !t.v.RequestStreams() {
			return
		}
		m := &wire.Setup{Parameters: wire.SetupParameters{Grease: wire.Grease(3)}}
		b, err := wire.AppendMessage(nil, t.v, m)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) <= 4 {
			t.Errorf("%x has no option", b)
		}
	})
}
