package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/object"
)

// shelf is a library in memory, whose payloads are 1000 bytes a group.
type shelf struct {
	mu    sync.Mutex
	at    string
	peers []Group
	have  map[uint64]bool
	order []uint64 // in which groups came
	looks int      // at all
	tails int
	room  int // groups more
	wake  chan struct{}
	deaf  bool // the peers do not answer

	invented []Group            // nobody brings them
	vain     int                // how often one was asked for
	slow     []object.TrackName // of another peer
}

func newShelf(ids ...uint64) *shelf {
	s := &shelf{at: "a peer", have: map[uint64]bool{}, room: 1 << 30}
	for _, id := range ids {
		s.peers = append(s.peers, Group{ID: id, Whole: true})
	}
	return s
}

var broadcast = object.TrackName{Namespace: object.Namespace{"ec"}, Name: "ts"}

func (s *shelf) Tracks() map[string]Track {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Track{broadcast.String(): {broadcast, s.at, []string{s.at}}}
	for _, t := range s.slow {
		all[t.String()] = Track{t, "slow", []string{"slow"}}
	}
	return all
}

func (s *shelf) Inventory(_ context.Context, t Track, from uint64) ([]Group, error) {
	if !t.Name.Equal(broadcast) {
		time.Sleep(time.Second)
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == 0 {
		s.looks++
	} else {
		s.tails++
	}
	if s.deaf {
		return nil, errors.New("no answer")
	}
	return slices.DeleteFunc(slices.Concat(s.peers, s.invented), func(g Group) bool { return g.ID < from }), nil
}

func (s *shelf) Lacks(_ object.TrackName, g Group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.have[g.ID]
}

func (s *shelf) Tail(object.TrackName) uint64 { return 100 }

func (s *shelf) Bring(ctx context.Context, _ Track, groups []Group, pace func(context.Context, int) error) {
	first, last := groups[0].ID, groups[len(groups)-1].ID
	s.mu.Lock()
	peers := slices.Clone(s.peers)
	for _, g := range groups {
		if g.ID >= 1000 && len(s.invented) > 0 {
			s.vain++
		}
	}
	s.mu.Unlock()
	for _, g := range peers {
		if g.ID < first || g.ID > last || pace(ctx, 1000) != nil {
			continue
		}
		s.mu.Lock()
		s.have[g.ID] = true
		s.order = append(s.order, g.ID)
		s.room--
		s.mu.Unlock()
	}
}

// asked is how often peers were asked for everything, and how often for what is new.
func (s *shelf) asked() (looks, tails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks, s.tails
}

// inVain is how often peers were asked for a group that they do not bring.
func (s *shelf) inVain() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vain
}

// came are the groups that did, in their order.
func (s *shelf) came() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// has tells whether a group came.
func (s *shelf) has(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[id]
}

func (s *shelf) Room(object.TrackName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room <= 0 {
		return errors.New("no room")
	}
	return nil
}

func (s *shelf) Changes() (<-chan struct{}, func()) { return s.wake, func() {} }

// run runs a mirror of the shelf for a while of a clock that stands still while anybody works.
func (s *shelf) run(t *testing.T, rate int64, d time.Duration, check func(m *Mirror)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s.wake = make(chan struct{}, 1) // of the bubble
		m := &Mirror{Library: s, Rate: rate}
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		time.Sleep(d)
		synctest.Wait()
		check(m)
		cancel()
		<-done
	})
}

// far is a shelf of many tracks of one peer, far away.
type far struct {
	*shelf
	tracks map[string]Track
	rtt    time.Duration
	came   int
}

func (f *far) Tracks() map[string]Track { return f.tracks }

func (f *far) Inventory(_ context.Context, _ Track, from uint64) ([]Group, error) {
	time.Sleep(f.rtt)
	return slices.DeleteFunc(slices.Clone(f.peers), func(g Group) bool { return g.ID < from }), nil
}

func (f *far) Lacks(object.TrackName, Group) bool { return true }

func (f *far) Bring(_ context.Context, _ Track, groups []Group, _ func(context.Context, int) error) {
	time.Sleep(f.rtt)
	f.mu.Lock()
	f.came += len(groups)
	f.mu.Unlock()
}

// Of a peer far away that has many tracks most of the time goes to what it brings, not to what it says to have.
func TestMirrorOfManyTracks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{shelf: newShelf(), tracks: make(map[string]Track), rtt: 300 * time.Millisecond}
		for i := range 300 {
			name := object.TrackName{Namespace: object.Namespace{"ec"}, Name: fmt.Sprint(i)}
			f.tracks[name.String()] = Track{name, "far", []string{"far"}}
		}
		for g := range uint64(1000) {
			f.peers = append(f.peers, Group{ID: g, Whole: true})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { (&Mirror{Library: f}).Run(ctx); close(done) }()
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if most := 8 * 10 * 60 * 10 / 3; f.came < most*2/5 {
			t.Errorf("%d groups in ten minutes, of %d that are possible one request after the other", f.came, most)
		}
	})
}

// The newest groups come first, and only those that are not here.
func TestMirrorNewestFirst(t *testing.T) {
	var ids []uint64
	for i := range uint64(20) {
		ids = append(ids, 1000+10*i)
	}
	s := newShelf(ids...)
	s.have[1150], s.have[1000] = true, true
	s.run(t, 0, time.Second, func(m *Mirror) {
		var batches []uint64
		for i, id := range s.came() {
			if i == 0 || id < s.came()[i-1] {
				batches = append(batches, id)
			}
		}
		if want := []uint64{1160, 1070, 1010}; !slices.Equal(batches, want) || len(s.came()) != 18 {
			t.Errorf("%v, batches begin with %v", s.came(), batches)
		}
		if m.Missing() != 0 || m.Brought() != 18 {
			t.Errorf("%d missing, %d brought", m.Missing(), m.Brought())
		}
	})
}

// The rate is kept to.
func TestMirrorRate(t *testing.T) {
	s := newShelf(101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120)
	s.run(t, 1000, 10*time.Second, func(m *Mirror) {
		if n := len(s.came()); n < 10 || n > 11 {
			t.Errorf("%d groups of 1000 bytes in 10 s at 1000 bytes a second", n)
		}
	})
}

// Peers are asked for everything when they come and from time to time, else for what is new.
func TestMirrorLooks(t *testing.T) {
	s := newShelf(1, 2)
	s.run(t, 0, time.Minute, func(m *Mirror) {
		if looks, tails := s.asked(); looks != 1 || tails < 9 {
			t.Errorf("%d looks at all, %d at what is new in a minute", looks, tails)
		}
		s.mu.Lock()
		s.at, s.peers = "another", []Group{{ID: 3, Whole: true}}
		s.mu.Unlock()
		s.wake <- struct{}{}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if looks, _ := s.asked(); looks != 2 || !s.has(3) {
			t.Errorf("%d looks after another peer came, group 3 came: %v", looks, s.has(3))
		}
		time.Sleep(fullInterval + tailInterval)
		synctest.Wait()
		if looks, _ := s.asked(); looks != 3 {
			t.Errorf("%d looks after %v", looks, fullInterval)
		}
	})
}

// A full store takes no more, so that what is new does not go for what is old; peers that do not answer are asked again.
func TestMirrorFullAndDeaf(t *testing.T) {
	s := newShelf(101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118)
	s.room = 5
	s.run(t, 0, time.Minute, func(m *Mirror) {
		if len(s.came()) != batch || m.Missing() != 10 {
			t.Errorf("came %v, %d missing", s.came(), m.Missing())
		}
	})
	s = newShelf(101)
	s.deaf = true
	s.run(t, 0, time.Minute, func(m *Mirror) {
		if looks, _ := s.asked(); looks < 5 {
			t.Errorf("asked %d times", looks)
		}
		s.mu.Lock()
		s.deaf = false
		s.mu.Unlock()
		time.Sleep(2 * tailInterval)
		synctest.Wait()
		if !s.has(101) {
			t.Error("nothing came when peers answered again")
		}
	})
}

// Groups that peers say to have and nobody brings keep no others from coming, and are asked for less and less often.
func TestMirrorOfInventedGroups(t *testing.T) {
	s := newShelf(1, 2, 3, 101, 102)
	for i := range uint64(50) {
		s.invented = append(s.invented, Group{ID: 1000 + 10*i, Whole: true})
	}
	s.run(t, 0, 20*time.Second, func(m *Mirror) {
		if len(s.came()) != 5 || m.Brought() != 5 || m.Missing() != 50 {
			t.Errorf("came %v, %d brought, %d missing", s.came(), m.Brought(), m.Missing())
		}
		before := s.inVain()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.inVain() - before; n == 0 || n > 20*50 {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

// A peer with many tracks, each slow to say what it has, does not delay those of another.
func TestMirrorLanes(t *testing.T) {
	s := newShelf(1, 2, 3)
	for i := range 1000 {
		s.slow = append(s.slow, object.TrackName{Namespace: object.Namespace{"ec"}, Name: fmt.Sprint(i)})
	}
	s.run(t, 0, 2*time.Second, func(m *Mirror) {
		if len(s.came()) != 3 {
			t.Errorf("came %v", s.came())
		}
		if n := m.running.Load(); n != 2 {
			t.Errorf("%d lanes share the memory", n)
		}
	})
}

// Many peers together cost no more memory than one.
func TestMissingIsSharedByLanes(t *testing.T) {
	for _, tt := range []struct{ lanes, tracks, want int }{{1, 1, maxMissing}, {1, 32, maxMissingOfAll / 32}, {64, 4, maxMissingOfAll / 256}, {4096, 256, batch}} {
		l := &lane{m: &Mirror{}, looks: make(map[string]*look)}
		l.m.running.Store(int64(tt.lanes))
		for i := range tt.tracks {
			l.looks[fmt.Sprint(i)] = &look{}
		}
		if n := l.most(); n != tt.want {
			t.Errorf("of %d lanes with %d tracks each, %d groups of a track are remembered, want %d", tt.lanes, tt.tracks, n, tt.want)
		}
	}
}
