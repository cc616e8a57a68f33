package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"every.channel/ec/lib/object"
)

// residentGroups is how many groups per track have their index in memory and may have their file open.
const residentGroups = 64

// Track is one track of a store.
type Track struct {
	s    *Store
	name object.TrackName

	forgotten atomic.Bool // Track and Lookup do not find it any more

	mu       sync.Mutex // guards all below, and every group of the track
	groups   map[uint64]*group
	held     map[uint64]*group // those that are withheld, which are in none of the others
	apart    []Range           // what is withheld
	some     atomic.Bool       // apart is not empty
	ids      []uint64          // ascending
	resident []*group          // groups with an index, least recently used first
	keep     *keeping          // what counts its bytes
	rule     int               // of its Rules; -1: none
	gone     uint64            // the id behind the greatest group that retention has removed
}

// Origin says where an object comes from. It decides which groups may be removed for the object when the disk is full.
type Origin uint8

const (
	// Live: the object comes from a publisher. The oldest groups that the configuration allows to remove may be removed for it.
	Live Origin = iota
	// Past: the object was fetched for a reader. No group that is newer in its track, or kept for ever, is removed for it.
	Past
	// Copy: the object was fetched to be kept. No group is removed for it. Its group counts as old as the group after it, so that
	// the past is removed first although it came last.
	Copy
)

// Result is what became of an object.
type Result uint8

const (
	Stored    Result = iota + 1 // new, and in the file
	Duplicate                   // already there with the same hash
	Conflict                    // contradicts what is there; refused
)

func (r Result) String() string {
	switch r {
	case Stored:
		return "stored"
	case Duplicate:
		return "duplicate"
	case Conflict:
		return "conflict"
	}
	return "not stored"
}

// Info describes a group.
type Info struct {
	Group    uint64
	Complete bool      // every object from 0 to the end of group is there
	Damaged  bool      // it was complete, and its file could not be read to its end when that was last tried
	Tiered   bool      // it lies in the tier
	Bytes    int64     // of the file, or of the object in the tier
	Time     time.Time // last written
}

// Summary describes a track.
type Summary struct {
	Groups, Whole  int       // Whole of Groups
	Bytes          int64     // of the files
	TierGroups     int       // groups that lie in the tier
	TierBytes      int64     // of them, there
	First, Last    uint64    // groups
	LastWritten    time.Time // of group Last
	Oldest, Newest time.Time // of all groups, when they were last written
}

// Summary adds up all groups; false: there is none.
func (t *Track) Summary() (s Summary, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ids) == 0 {
		return s, false
	}
	s.First, s.Last, s.Groups = t.ids[0], t.ids[len(t.ids)-1], len(t.ids)
	s.LastWritten = time.Unix(0, t.groups[s.Last].mtime)
	s.Oldest, s.Newest = s.LastWritten, s.LastWritten
	for _, g := range t.groups {
		if g.tiered {
			s.TierGroups, s.TierBytes = s.TierGroups+1, s.TierBytes+g.size
		} else {
			s.Bytes += g.size
		}
		if g.state == complete {
			s.Whole++
		}
		switch at := time.Unix(0, g.mtime); {
		case at.Before(s.Oldest):
			s.Oldest = at
		case at.After(s.Newest):
			s.Newest = at
		}
	}
	return s, true
}

// Name is the track's full name.
func (t *Track) Name() object.TrackName { return t.name }

func (t *Track) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ids) == 0
}

// nothing reports whether there is nothing of a track, not even of what is withheld.
func (t *Track) nothing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ids)+len(t.held) == 0
}

// Put stores an object whose payload has the hash sum. Objects of a group may come in any order. When it
// returns Stored, the object has been written; an error means that it was not, ErrFull that there is no
// room. Nothing of o is kept.
func (t *Track) Put(o *object.Object, sum object.Hash) (Result, error) {
	return t.PutFrom(Live, o, sum)
}

// PutFrom does the same for an object that may not come from a publisher.
func (t *Track) PutFrom(from Origin, o *object.Object, sum object.Hash) (Result, error) {
	if t.s.closed.Load() {
		return 0, ErrClosed
	}
	if t.s.c.ReadOnly {
		return 0, ErrReadOnly
	}
	var r Result
	put := func() error {
		return t.s.pool.withFiles(func() (err error) { r, err = t.put(from, o, sum); return err })
	}
	err := put()
	if isFull(err) {
		if from != Copy && t.s.makeRoom(int64(len(o.Payload)), func(old old) bool { return from == Live || old.t != t || old.g.id < o.Group }, from == Live) {
			err = put()
		}
		if isFull(err) {
			t.s.stats.full.Add(1)
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	if t.forgotten.Load() {
		t.s.Track(t.name) // so that it is found again
	}
	switch {
	case errors.Is(err, ErrWithheld):
		return 0, fmt.Errorf("group %d of %v: %w", o.Group, t.name, err)
	case err != nil:
		t.s.hurt(err)
		return 0, fmt.Errorf("store object %d of group %d of %v: %w", o.ID, o.Group, t.name, err)
	case r == Stored:
		t.s.stored()
	case r == Duplicate:
		t.s.stats.duplicate.Add(1)
	case r == Conflict:
		t.s.stats.conflict.Add(1)
	}
	return r, nil
}

// Wants reports whether there is neither an object with this id nor an end before it, so that Put would store one.
func (t *Track) Wants(group, id uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		return true
	}
	if g.state != partial || g.load() != nil {
		return false
	}
	t.touch(g)
	_, found := g.idx.find(id)
	return !found && !(g.idx.hasEnd && id >= g.idx.end)
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func (t *Track) put(from Origin, o *object.Object, sum object.Hash) (Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.isWithheld(o.Group):
		return 0, ErrWithheld
	case o.Status == object.Normal && t.s.taken(sum):
		// The payload is not taken. Its group goes only if it has the payload, or else anybody who has one could take down what others bring.
		if g, err := t.taking(o.Group); err == nil && g != nil && g.idx.judge(o, sum) == Duplicate {
			t.found(o.Group, sum)
		}
		return 0, ErrWithheld
	}
	for try := 0; ; try++ {
		r, err := t.putInto(from, o, sum)
		if !errors.Is(err, errChanged) || try == 2 {
			return r, err
		}
	}
}

// putInto does the same as put, unless somebody else has changed the group's file: then it says so, and has forgotten or read again what there
// was of the group.
func (t *Track) putInto(from Origin, o *object.Object, sum object.Hash) (Result, error) {
	g, err := t.taking(o.Group)
	if err != nil {
		return 0, err
	}
	if g != nil && from != Copy {
		g.copied = false
	}
	if g == nil {
		g = &group{t: t, id: o.Group, idx: &index{}}
		if i, _ := slices.BinarySearch(t.ids, o.Group); from == Copy && i < len(t.ids) {
			g.copied, g.mtime = true, min(t.groups[t.ids[i]].mtime, t.s.c.now().UnixNano())
		}
	}
	switch g.idx.judge(o, sum) {
	case Duplicate:
		t.touch(g)
		return Duplicate, nil
	case Conflict:
		t.touch(g)
		return Conflict, nil
	}
	if err := g.write(o, sum); err != nil {
		return 0, err
	}
	if t.groups[o.Group] == nil {
		t.add(g)
	}
	if g.state == partial && g.idx.whole() {
		g.state = finishing
		t.s.enqueue(g)
	}
	t.touch(g)
	return Stored, nil
}

// taking returns a group that an object is for, with its index; nil: nothing is stored of it. What is damaged or cannot be read is set aside
// for whoever wants to look, and the group begins anew: a publisher or peer still has it.
func (t *Track) taking(id uint64) (*group, error) {
	g := t.groups[id]
	if g == nil {
		var err error
		if g, err = t.adopt(id); g == nil || err != nil {
			return nil, err
		}
	}
	err := g.load()
	switch {
	case err == nil:
		return g, nil
	case errors.Is(err, ErrNotFound): // somebody has removed the file
		return nil, nil
	case g.state == finishing, passing(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, errAway):
		return nil, err
	}
	return nil, g.setAside(err)
}

// count updates the sums of bytes.
func (t *Track) count(bytes int64) {
	t.s.bytes.Add(bytes)
	if t.rule >= 0 {
		t.keep.ruled[t.rule].Add(bytes)
	}
}

// Gone reports whether retention has removed a group, or a later group of its track, since the store was opened. Fetching such a
// group again would be in vain.
func (s *Store) Gone(name object.TrackName, group uint64) bool {
	s.mu.RLock()
	t := s.tracks[name.String()]
	s.mu.RUnlock()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return group < t.gone && t.groups[group] == nil
}

// add and drop change groups and ids together.
func (t *Track) add(g *group) {
	t.groups[g.id] = g
	i, found := slices.BinarySearch(t.ids, g.id)
	if !found {
		t.ids = slices.Insert(t.ids, i, g.id)
	}
	if t.isWithheld(g.id) {
		t.hold(g)
	}
}

func (t *Track) drop(g *group) {
	if g.tiered && t.at(g.id) == g {
		t.s.tieredGroups.Add(-1)
	}
	g.readable() // nothing is left out where nothing is
	if t.held[g.id] == g {
		delete(t.held, g.id)
		g.closeFile()
		g.idx = nil
		return
	}
	delete(t.groups, g.id)
	if i, ok := slices.BinarySearch(t.ids, g.id); ok {
		t.ids = slices.Delete(t.ids, i, i+1)
	}
	if i := slices.Index(t.resident, g); i >= 0 {
		t.resident = slices.Delete(t.resident, i, i+1)
	}
	g.closeFile()
	g.idx = nil
}

// touch makes g the most recently used of the resident groups. If there are too many, the least recently used one drops its index
// and closes its file. A group that waits for its final name keeps its index until it has the name, and is none of them.
func (t *Track) touch(g *group) {
	if n := len(t.resident); n > 0 && t.resident[n-1] == g && g.state != finishing {
		return
	}
	if i := slices.Index(t.resident, g); i >= 0 {
		t.resident = slices.Delete(t.resident, i, i+1)
	}
	if g.state == finishing {
		return
	}
	t.resident = append(t.resident, g)
	if len(t.resident) > residentGroups {
		old := t.resident[0]
		old.closeFile()
		old.idx = nil
		t.resident = slices.Delete(t.resident, 0, 1)
	}
}

// Finish says that no more objects of a group are expected. A whole group gets its final name now; any other group stays partial,
// and its file is closed.
func (t *Track) Finish(id uint64) error {
	t.mu.Lock()
	g := t.groups[id]
	if g != nil && g.state != finishing {
		g.closeFile()
	}
	whole := g != nil && g.state == finishing
	t.mu.Unlock()
	if !whole {
		return nil
	}
	return t.s.Flush()
}
