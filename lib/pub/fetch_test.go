package pub

import (
	"fmt"
	"math"
	"testing"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
)

// The disk has the beginning of another group under a group's name, from an earlier run. No answer mixes the two, nor does the disk.
func TestOtherGroupOnDisk(t *testing.T) {
	dir := t.TempDir()
	earlier := groups(10, 1)[:3]
	for i := range earlier {
		earlier[i] = other(earlier[i])
	}
	open := func() (*spool, *holding) {
		d, err := openDisk(Config{Spool: dir, Memory: 1 << 20, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		s := newSpool(1, time.Minute, 1<<20, false, discard)
		s.disk = d
		return s, s.holding(name)
	}
	add := func(s *spool, list ...object.Object) *holding {
		for _, o := range list {
			if err := s.add(testContext(t), &object.Track{Name: name}, &o, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		return s.holding(name)
	}
	check := func(h *holding, from uint64, whole bool, want ...object.Object) {
		t.Helper()
		got, isWhole, err := h.objects(10, from)
		if err != nil || isWhole != whole {
			t.Errorf("whole is %v, %v", isWhole, err)
		}
		wantObjects(t, got, want)
		listed := fmt.Sprint(h.groups(0, math.MaxUint64))
		if from == 0 && listed != fmt.Sprint([]mesh.Group{{ID: 10, Objects: uint64(len(want)), Whole: whole}}) {
			t.Errorf("listed are %v", listed)
		}
	}
	s, _ := open()
	add(s, earlier...)
	s.disk.close()

	s, h := open()
	check(h, 0, false, earlier...)
	ours := append(groups(10, 1)[:3], other(groups(10, 1)[2]), object.Object{Group: 10, ID: 4, Status: object.EndOfGroup})
	ours[3].ID = 3
	h = add(s, ours[:2]...)
	check(h, 0, false, ours[:2]...)
	check(h, 1, false, ours[1:2]...)
	check(h, 2, false)
	h = add(s, ours[2:]...)
	check(h, 0, true, ours[:4]...)
	if s.leave(s.tracks[name.String()].group(10), 0) {
		t.Error("the group is left to a disk that has another one")
	}
	s.disk.close()

	s, h = open()
	check(h, 0, false, earlier...)
	s.disk.close()
}

// Until a write has shown that they differ, the objects themselves do.
func TestGroupsThatDisagree(t *testing.T) {
	a, b := groups(10, 1)[:3], groups(10, 1)[1:3]
	if !agree(a, b) {
		t.Error("equal objects disagree")
	}
	b[1] = other(b[1])
	if agree(a, b) || !agree(a[:2], b[1:]) {
		t.Error("other objects agree")
	}
}
