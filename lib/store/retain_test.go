package store

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/object"
)

// clock is a time that tests move.
type clock struct {
	sync.Mutex
	t time.Time
}

func (c *clock) now() time.Time { c.Lock(); defer c.Unlock(); return c.t }

func (c *clock) add(d time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.t = c.t.Add(d)
}

func groupIDs(tr *Track) (ids []uint64) {
	for _, i := range tr.Groups(0, math.MaxUint64) {
		ids = append(ids, i.Group)
	}
	return ids
}

func TestRetentionByAge(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{MaxAge: time.Hour, now: c.now})
	tr := s.Track(ts)
	putGroup(t, s.Track(catalog), 1)
	for g := range uint64(4) {
		putGroup(t, tr, g)
		c.add(20 * time.Minute)
	}
	c.add(time.Minute)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := groupIDs(tr); !slices.Equal(got, []uint64{2, 3}) { // 80 minutes: 0 and 1 are over an hour old
		t.Errorf("left: %v", got)
	}
	if got := groupIDs(s.Track(catalog)); len(got) != 1 {
		t.Errorf("the catalog of a live namespace went: %v", got)
	}
	c.add(2 * time.Hour)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if got := s.Tracks(); len(got) != 0 || s.Stats().Bytes != 0 || len(files(t, dir)) != 0 {
		t.Errorf("left: %v, %+v, %v", got, s.Stats(), files(t, dir))
	}
}

func TestRetentionByBytesAndNamespace(t *testing.T) {
	c := &clock{t: time.Now()}
	other := object.TrackName{Namespace: object.Namespace{"x", "y"}, Name: "v"}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now, MaxBytes: 1 << 30, Rules: []Rule{{Prefix: object.Namespace{"x"}, MaxBytes: 1}}})
	for g := range uint64(10) {
		putGroup(t, s.Track(ts), g)
		putGroup(t, s.Track(other), g)
		c.add(time.Second)
	}
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if a, b := groupIDs(s.Track(ts)), groupIDs(s.Track(other)); len(a) != 10 || !slices.Equal(b, []uint64{9}) {
		t.Errorf("left: %v and %v", a, b)
	}
	size := s.Stats().Bytes / 11
	s.keep.Load().MaxBytes = 5*size + 4*size/5 // five groups, and what is between them
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	if a := groupIDs(s.Track(ts)); !slices.Equal(a, []uint64{6, 7, 8, 9}) {
		t.Errorf("left: %v", a)
	}
	if st := s.Stats(); st.Bytes > s.keep.Load().MaxBytes || st.Removed != 15 {
		t.Errorf("%+v", st)
	}
}

func TestCompression(t *testing.T) {
	c := &clock{t: time.Now()}
	dir := t.TempDir()
	s := open(t, dir, Config{now: c.now, CompressAfter: time.Minute})
	tr := s.Track(ts)
	putGroup(t, tr, 1)
	before := s.Stats().Bytes
	c.add(time.Hour)
	putGroup(t, tr, 2)
	if err := s.Maintain(); err != nil {
		t.Fatal(err)
	}
	want := []string{"ec-atsc-2065-3/ts_t07/0/1.eco.zst", "ec-atsc-2065-3/ts_t07/0/2.eco"}
	for range 2 {
		if got := files(t, dir); !slices.Equal(got, want) || s.Stats().Bytes >= 2*before {
			t.Errorf("files are %q, %d bytes", got, s.Stats().Bytes)
		}
		wantGroup(t, tr, 1, allIDs, true)
		put(t, tr, part(1, 3), Duplicate)
		s.Close()
		s = open(t, dir, Config{})
		tr = s.Track(ts)
	}
}
