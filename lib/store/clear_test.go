package store

import (
	"os"
	"testing"
)

// Clear leaves nothing, not even groups that cannot get their final names, because the disk is full or broken; and what is cleared can be
// stored again.
func TestClear(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	tr, other := s.Track(ts), s.Track(catalog)
	putGroup(t, tr, 0)
	putGroup(t, other, 0)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	put(t, tr, part(1, 0), Stored)
	for _, id := range []uint64{1, 0, 2, 3, 4, parts} { // not in order, so the file has to be written again
		put(t, tr, part(2, id), Stored)
	}
	if err := os.Mkdir(tr.groups[2].path(extWhole)+extTemp, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.Flush() == nil {
		t.Fatal("the group has its final name")
	}
	if err := tr.Clear(); err != nil {
		t.Error(err)
	}
	if n := tr.Count(0, 10); n != 0 || other.Count(0, 10) != 1 {
		t.Errorf("%d groups are left, and %d of another track", n, other.Count(0, 10))
	}
	put(t, tr, part(2, 0), Stored)
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again := open(t, dir, Config{}).Track(ts)
	if ids, _, err := again.Objects(2); err != nil || len(ids) != 1 || again.Count(0, 10) != 1 {
		t.Errorf("%v, %v, %d groups", ids, err, again.Count(0, 10))
	}
}
