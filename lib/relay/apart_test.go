package relay

import (
	"errors"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// onAir is the first group of what is on air of the track ts.
func onAir() uint64 {
	x := clock.TicksAt(time.Now().Add(6 * time.Hour)) // t07
	return clock.GroupID(clock.Grid(180_000).Of(x), 0)
}

// refused has a publisher begin a group, and waits until its stream is stopped.
func (p *publisher) refused(o *object.Object) {
	p.t.Helper()
	p.put(o)
	id := o.ID
	wait(p.t, "the stream to be stopped", func() bool {
		id++
		reset, ok := errors.AsType[*moqt.StreamResetError](p.w.WriteObject(id, nil, 0, []byte("more")))
		return ok && reset.Remote && reset.Code == wire.ResetMalformedTrack
	})
	p.w = nil
}

// One group two thousand million ahead, and another programme under the name: viewers see neither, those that come after it included, and the
// operator sees both. That an id is far ahead shows with a single home, too; another programme does not.
func TestStrangeGroups(t *testing.T) {
	for _, second := range []bool{false, true} {
		s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{})
		liar := s.publisher(t, ts)
		g := onAir()
		groups := 0
		var v *viewer
		if second {
			home := s.publisher(t, ts)
			v = s.viewer(t, ts, fromNow)
			home.group(g)
			v.whole(1)
			groups++
			liar.refused(part(g+0xbad, 0)) // another programme
		}
		for i := range uint64(3) {
			liar.refused(part(g+2_000_000_000+i<<clock.TagBits, 0))
		}
		late, err := s.view(t, ts, fromNow)
		if second {
			if err != nil || late.sub.Info().Largest == nil || late.sub.Info().Largest.Group != g {
				t.Errorf("a viewer that came after it: %v, told %+v", err, late.sub.Info().Largest)
			}
			v.whole(groups)
			if n := v.count(func(*received) bool { return true }); n != groups {
				t.Errorf("%d groups came to the viewer, want %d", n, groups)
			}
		} else if err == nil && late.sub.Info().Largest != nil {
			t.Errorf("a viewer is told of %+v", late.sub.Info().Largest)
		}
		if all := s.groupsOf(ts); all != groups {
			t.Errorf("%d groups are stored, want %d", all, groups)
		}
		strange := 0
		for _, track := range s.trackStatus(time.Now()) {
			for _, p := range track.Senders {
				if p.Apart == 0 {
					continue
				}
				strange++
				if !strings.Contains(p.Strange, "ahead of this relay's clock") || p.Quarantined == nil || second != (p.Disputed == 1) {
					t.Errorf("second %t: %+v", second, p)
				}
			}
		}
		if st := s.Stats(); strange != 1 || st.Quarantined != 1 || st.Apart < 3 {
			t.Errorf("second %t: %d strange homes, %+v", second, strange, st)
		}
	}
}

// groupsOf counts the groups of a track in the store.
func (s *server) groupsOf(name object.TrackName) int {
	return len(s.store.Track(name).Groups(0, object.MaxVarint))
}

// With --max-ahead 0 the relay's clock is not asked.
func TestAnyTime(t *testing.T) {
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{MaxAhead: -1}, store.Config{})
	p := s.publisher(t, ts)
	p.group(onAir() + 2_000_000_000)
	s.stored(t, parts+1)
}
