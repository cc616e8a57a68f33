package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// A link is made anew in the middle of group 5, and the stream of group 6 is faster. That of group 5 then begins with object 2, which
// is not the first of its group: what came before it is fetched, and viewers get the group whole.
func TestLinkInTheMiddleOfAGroup(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		times := 0
		h.subscr = func(ctx context.Context, r *moqt.SubscribeRequest) {
			times++
			if times == 1 {
				if pub, err := r.Accept(moqt.TrackInfo{Largest: &moqt.Location{Group: 4, Object: parts}}); err == nil {
					time.Sleep(time.Second)
					pub.Done(wire.DoneInternalError, "restarts")
				}
				return
			}
			pub, err := r.Accept(moqt.TrackInfo{Largest: &moqt.Location{Group: 5, Object: 1}})
			if err != nil {
				return
			}
			p := &publisher{t: t, pub: pub}
			p.group(6)
			time.Sleep(10 * time.Millisecond)
			for id := uint64(2); id <= parts; id++ {
				p.put(part(5, id))
			}
			<-pub.Context().Done()
		}
		h.fetch = func(_ context.Context, r *moqt.FetchRequest) {
			first, objects := uint64(4), uint64(parts)
			end := moqt.Location{Group: 4}
			if r.End.Group > 4 {
				time.Sleep(time.Second)
				first, objects, end = 5, 2, moqt.Location{Group: 5, Object: 2}
			}
			w, err := r.Accept(moqt.FetchInfo{End: end})
			if err != nil {
				return
			}
			for id := range objects {
				o := part(first, id)
				w.WriteObject(moqt.FetchObject{Group: first, ID: id, Properties: o.Properties}, o.Payload)
			}
			w.Close()
		}
		r := start(t, t.TempDir(), pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
		synctest.Wait()
		v := r.viewer(t, ts, from(4))
		time.Sleep(20 * time.Second)
		if n := v.count(isWhole); n != 3 || times != 2 {
			v.mu.Lock()
			defer v.mu.Unlock()
			for g, rec := range v.got {
				t.Logf("group %d: %v, FIN %v, %v", g, rec.ids, rec.fin, rec.err)
			}
			t.Errorf("%d whole groups of 3, after %d links", n, times)
		}
	})
}
