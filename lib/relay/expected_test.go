package relay

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// The past that a subscriber asked for takes longer to come than a link lingers. The link that was made for it stays all the same,
// else what is live meanwhile would be missed.
func TestLinkOfExpectedSubscriber(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		const groups = 20
		var linked, left atomic.Int32
		h := newRogue(ts)
		h.subscr = func(ctx context.Context, r *moqt.SubscribeRequest) {
			pub, err := r.Accept(moqt.TrackInfo{Largest: &moqt.Location{Group: groups, Object: parts}})
			if err != nil {
				return
			}
			linked.Add(1)
			<-pub.Context().Done()
			left.Add(1)
		}
		h.fetch = func(ctx context.Context, r *moqt.FetchRequest) {
			w := accepts(t, r)
			for g := range uint64(groups) {
				time.Sleep(time.Second)
				for id := range uint64(parts) {
					o := part(g+1, id)
					if w.WriteObject(moqt.FetchObject{Group: o.Group, ID: id, Properties: o.Properties}, o.Payload) != nil {
						return
					}
				}
			}
			w.Close()
		}
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{}) // lingers for 10 s
		synctest.Wait()
		v := r.viewer(t, ts, from(1))
		time.Sleep((groups + 5) * time.Second)
		if linked.Load() != 1 || left.Load() != 0 {
			t.Errorf("subscribed %d times upstream, left %d times, while the past came", linked.Load(), left.Load())
		}
		if n := v.count(isWhole); n != groups {
			t.Errorf("%d of %d groups came", n, groups)
		}
		v.c.leave()
		time.Sleep(15 * time.Second)
		if left.Load() != 1 || len(r.expected) != 0 {
			t.Errorf("left %d times after the last subscriber, %d still expected", left.Load(), len(r.expected))
		}
	})
}

// A SUBSCRIBE that is refused leaves nobody expected.
func TestRefusedIsNotExpected(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{newRogue(ts).upstream(t)}}, store.Config{})
		synctest.Wait()
		if _, err := r.view(t, object.TrackName{Namespace: ts.Namespace, Name: "nothing"}, fromNow); err == nil {
			t.Errorf("a track nobody has: %v", err)
		}
		synctest.Wait()
		if len(r.expected) != 0 {
			t.Errorf("%d still expected", len(r.expected))
		}
	})
}
