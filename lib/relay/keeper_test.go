package relay

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/store"
)

// keeping is a publisher that has groups of ts and answers for them.
type keeping struct {
	moqt.UnimplementedHandler
	groups        []uint64
	shy           atomic.Bool // it lists nothing yet
	mended, asked atomic.Int64
}

func (k *keeping) Fetch(_ context.Context, r *moqt.FetchRequest) {
	if r.Track.Namespace[0] == mesh.InventoryField {
		var list []mesh.Group
		for _, id := range k.groups {
			list = append(list, mesh.Group{ID: id, Whole: true})
		}
		if len(r.Track.Namespace) == 1 || len(list) == 0 || k.shy.Load() {
			r.Reject(wire.RequestDoesNotExist, "")
			return
		}
		w, err := r.Accept(moqt.FetchInfo{End: moqt.Location{Group: r.Start.Group, Object: 1}})
		if err == nil {
			w.WriteObject(moqt.FetchObject{Group: r.Start.Group}, mesh.AppendInventory(nil, list))
			w.Close()
		}
		return
	}
	if r.Priority == 255 {
		k.mended.Add(1)
	} else {
		k.asked.Add(1)
	}
	w, err := r.Accept(moqt.FetchInfo{End: r.End})
	if err != nil {
		return
	}
	for _, id := range k.groups {
		for i := range uint64(parts) {
			at := moqt.Location{Group: id, Object: i}
			if at.Less(r.Start) || !at.Less(half(r.End)) {
				continue
			}
			o := part(id, i)
			w.WriteObject(moqt.FetchObject{Group: id, ID: i, Properties: o.Properties}, o.Payload)
		}
	}
	w.Close()
}

// holed is a relay that lacks groups between two that a publisher brought.
func holed(t *testing.T, k *keeping) *server {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	c := s.dial(t, k)
	pub, err := c.Publish(within(t, 1e10), ts, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{t: t, c: c, pub: pub}
	p.group(10)
	p.group(20)
	s.stored(t, 2*(parts+1))
	return s
}

// The relay fetches what a publisher has and it has not, when nobody asks for it, behind what is live.
func TestHolesAreMended(t *testing.T) {
	k := &keeping{groups: []uint64{8, 10, 12, 14, 20}}
	s := holed(t, k)
	wait(t, "the holes to be mended", func() bool {
		st := s.store.Track(ts)
		return !slices.ContainsFunc(k.groups, func(id uint64) bool { i, ok := st.Group(id); return !ok || !i.Complete })
	})
	if k.asked.Load() > 0 || k.mended.Load() == 0 {
		t.Errorf("%d requests with the lowest priority, %d others", k.mended.Load(), k.asked.Load())
	}
	wait(t, "word of it", func() bool { p := s.mend.Progress(); return p.Brought == 3 && p.Missing == 0 })
}

// A viewer's FETCH over a hole does not wait for that: the publisher is asked then.
func TestFetchAsksPublishers(t *testing.T) {
	k := &keeping{groups: []uint64{12, 14}}
	k.shy.Store(true)
	s := holed(t, k)
	k.shy.Store(false) // the relay looks by itself every 5 s only
	got := s.fetchAll(t, ts, moqt.Location{})
	for _, id := range []uint64{10, 12, 14, 20} {
		if !slices.Equal(got[id], allIDs[:parts]) {
			t.Errorf("of group %d there is %v", id, got[id])
		}
	}
	if k.asked.Load() > 0 || k.mended.Load() == 0 {
		t.Error("it was not asked behind what is live")
	}
	// It does not ask the publisher for what the publisher asks for.
	s.mu.Lock()
	var itself *session
	for itself = range s.keepersHere {
	}
	s.mu.Unlock()
	all, _ := s.publishersOf(ts, nil)
	if others, _ := s.publishersOf(ts, itself); len(all) != 1 || len(others) != 0 {
		t.Error("it would be asked for what it asks for")
	}
}

// A publisher that lists nothing is asked once.
func TestMutePublisher(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
	p := s.publisher(t, ts)
	p.group(10)
	p.group(20)
	s.stored(t, 2*(parts+1))
	wait(t, "the relay to know", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, k := range s.keepersHere {
			return k.mute
		}
		return false
	})
	if list, _ := s.publishersOf(ts, nil); len(list) > 0 {
		t.Error("it would be asked again")
	}
	if got := s.fetchAll(t, ts, moqt.Location{}); len(got) != 2 {
		t.Errorf("%d groups", len(got))
	}
}
