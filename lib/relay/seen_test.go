package relay

import (
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// What sources tell is seen: the newest entry of a health track, and how late a broadcast's chunks come, which is left out where it is not certain.
func TestSeen(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{MaxAhead: -1}, store.Config{})
	put := func(p *publisher, group, id uint64, props object.Properties, payload []byte) {
		p.t.Helper()
		p.put(&object.Object{Group: group, ID: id, Properties: props.Append(nil), Payload: payload})
	}
	of := func(name string) object.TrackName {
		return object.TrackName{Namespace: object.Namespace{"ec", "source", name, "3"}, Name: catalog.TrackTimeline}
	}
	media := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t13"}
	find := func(name object.TrackName) Track {
		for _, tr := range s.trackStatus(time.Now()) {
			if tr.Track == name.String() {
				return tr
			}
		}
		t.Fatal(name, "is not in the status")
		return Track{}
	}

	health := object.TrackName{Namespace: of("one").Namespace, Name: catalog.TrackHealth}
	h := s.publisher(t, health)
	payload, err := catalog.Health{Packets: 4711, Unknown: catalog.Unknown{"foreign": []byte("1")}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	put(h, 1, 0, object.Properties{}, []byte(`{"v":1,"packets":-1}`))
	put(h, 1, 1, object.Properties{}, payload)
	s.stored(t, 2)
	if got := find(health).Health; got == nil || got.Packets != 4711 || got.Unknown != nil {
		t.Errorf("%+v", got)
	}
	put(h, 1, 2, object.Properties{}, []byte(`{"v":1,"packets":-1}`))
	s.stored(t, 3)
	if got := find(health).Health; got != nil {
		t.Errorf("of an entry that cannot be: %+v", got)
	}

	// A chunk of now, and a timeline that tells of the chunk of 4 s before, whose picture was due 3 s later than its id says.
	grid := clock.Grid(clock.TicksOf(2 * time.Second))
	now := time.Now().Truncate(time.Millisecond)
	x := clock.TicksAt(now.Add(-3 * time.Second))
	bucket := func(x clock.Ticks) uint64 { return clock.GroupID(grid.Of(x), 7) }
	pts := func(x clock.Ticks) uint64 { return uint64(clock.PTS(0).Add(x)) }
	m := s.publisher(t, media)
	put(m, bucket(x), 0, object.Properties{PTS: pts(x), HasPTS: true}, []byte("chunk"))
	s.stored(t, 4)
	if got := find(media).Latency; got != nil {
		t.Errorf("nobody tells the time, and the latency is %v", *got)
	}
	before := x - clock.TicksOf(4*time.Second)
	stored := int64(4)
	tell := func(p *publisher, id uint64, x clock.Ticks, shift time.Duration) {
		t.Helper()
		e := catalog.TimelineEntry{Group: bucket(x), PTS: pts(x), UTC: catalog.TimeOf(x.Time().Add(shift)), Track: media}
		b, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		put(p, 1, id, object.Properties{}, b)
		stored++
		s.stored(t, stored)
	}
	one, two := s.publisher(t, of("one")), s.publisher(t, of("two"))
	tell(one, 0, before, 3*time.Second) // so the chunk of x was due now
	right := func(what string) {
		t.Helper()
		if got := find(media).Latency; got == nil || *got < -0.01 || *got > 30 || *got > time.Since(now).Seconds() {
			t.Errorf("%s: latency %v", what, got)
		}
	}
	right("one timeline")
	tell(two, 0, before, 3*time.Second-500*time.Millisecond)
	if got := find(media).Latency; got == nil || *got < 0.49 {
		t.Errorf("of two that agree the later one does not count: %v", got)
	}
	for i, c := range []struct {
		what  string
		x     clock.Ticks
		shift time.Duration
	}{
		{"two timelines contradict each other", before, -3 * time.Second},
		{"the track's name does not allow the time", before, 2 * time.Hour},
		{"the chunk is long ago", x - clock.TicksOf(11*time.Minute), 3 * time.Second},
	} {
		tell(two, uint64(i+1), c.x, c.shift)
		if got := find(media).Latency; got != nil {
			t.Errorf("%s, and the latency is %v", c.what, *got)
		}
	}
	tell(two, 9, before, 3*time.Second)
	right("all agree again")

	// The time stamp of the next chunk does not go with its id: the clock was set.
	m.put(&object.Object{Group: bucket(x), ID: 1, Status: object.EndOfGroup})
	put(m, bucket(x+clock.TicksOf(20*time.Second)), 0, object.Properties{PTS: pts(x + clock.TicksOf(2*time.Second)), HasPTS: true}, []byte("chunk"))
	stored += 2
	s.stored(t, stored)
	if got := find(media).Latency; got != nil {
		t.Errorf("the clock was set, and the latency is %v", *got)
	}
}
