package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
)

// storedBeside is a relay whose store has groups of ts and the first object of another one, and whose only upstream answers no FETCH.
func storedBeside(t *testing.T, h *rogue, groups ...uint64) *server {
	t.Helper()
	dir := t.TempDir()
	before := start(t, dir, pipe, Config{}, store.Config{})
	p := before.publisher(t, ts)
	for _, g := range groups {
		p.group(g)
	}
	p.put(part(groups[len(groups)-1]+1, 0))
	before.stored(t, int64(len(groups))*(parts+1)+1)
	before.stop()
	h.fetch = func(ctx context.Context, _ *moqt.FetchRequest) { <-ctx.Done() }
	r := start(t, dir, pipe, Config{Upstreams: []Upstream{h.upstream(t)}}, store.Config{})
	synctest.Wait()
	return r
}

// first says when the first object of a fetch came.
func (s *server) first(t *testing.T, start, end moqt.Location) time.Duration {
	c := s.dial(t, nil)
	defer c.leave()
	began := time.Now()
	r, err := c.Fetch(within(t, 2*time.Minute), ts, start, end, moqt.FetchOptions{})
	if err != nil {
		t.Error(err)
		return 0
	}
	defer r.Cancel()
	if o, err := r.Next(); err != nil || o.Kind != moqt.FetchedObject || o.Group != start.Group || o.ID != start.Object {
		t.Errorf("the first entry is %+v: %v", o, err)
	}
	return time.Since(began)
}

// What is stored is answered at once, whatever an upstream does, also the largest object and the end of a group.
func TestFetchOfWhatIsHere(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		h := newRogue(ts)
		h.status = func(ctx context.Context, _ *moqt.TrackStatusRequest) { <-ctx.Done() }
		r := storedBeside(t, h, 1, 2)
		for _, f := range []struct{ start, end moqt.Location }{
			{moqt.Location{Group: 1}, moqt.Location{Group: 1}},
			{moqt.Location{Group: 2, Object: parts - 1}, moqt.Location{Group: 2, Object: parts}},
			{moqt.Location{Group: 1, Object: 2}, moqt.Location{Group: 2}},
			{moqt.Location{Group: 3}, moqt.Location{Group: 3, Object: 1}},
		} {
			if d := r.first(t, f.start, f.end); d > 100*time.Millisecond {
				t.Errorf("%v to %v answered after %v", f.start, f.end, d)
			}
		}
	})
}

// Many that fetch beyond what is stored while an upstream is silent are not served one after the other.
func TestFetchesDoNotQueueForTheSilent(t *testing.T) {
	inMemory(t, func(t *testing.T) {
		r := storedBeside(t, newRogue(ts), 1, 2)
		took := make(chan time.Duration)
		const n = 15
		for range n {
			go func() {
				took <- r.first(t, moqt.Location{Group: 1}, moqt.Location{Group: 5})
			}()
		}
		for range n {
			if d := <-took; d > nearPatience+time.Second {
				t.Errorf("the first object came after %v", d)
			}
		}
	})
}
