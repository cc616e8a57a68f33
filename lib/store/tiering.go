package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/object"
)

// Times and bounds of moving groups to the tier.
const (
	tierLanes    = 2                // groups that are moved at a time
	tierRound    = 256              // groups that are looked for at once
	tierPatience = 30 * time.Minute // for a group, however slow the bucket and however low the rate
	tierRest     = 5 * time.Second  // after failures, then twice as long each time
	tierRestMost = 10 * time.Minute
	// tierVain is how many groups may fail in succession before it rests: one that fails may be at fault itself.
	tierVain = 3
	// tierAgain is how long a group that failed is left alone, tierStays one that cannot be moved.
	tierAgain = 5 * time.Minute
	tierStays = 24 * time.Hour
	// doomBatch is how many objects are deleted at once.
	doomBatch = 1000
	// lookedAtOnce is how many groups are looked at while nothing of their track can be stored.
	lookedAtOnce = 4096
)

// errStays: a group is not moved to the tier, for a reason of its own.
var errStays = errors.New("group stays on the disk")

// errDropped: a group was removed while it was moved.
var errDropped = errors.New("group was removed meanwhile")

// TierState is how the tier does.
type TierState struct {
	Name    string
	Waiting int       // groups that are old enough and still on the disk, when that was last counted
	Moved   int64     // groups, since the store was opened
	Bytes   int64     // of them
	Stays   int64     // groups that cannot be moved, each time that this was found
	Doomed  int       // objects that are to be deleted
	Err     string    // why nothing is moved at the moment; empty: it is
	Since   time.Time // when that began
}

// Tier returns how the tier does; nil: there is none.
func (s *Store) Tier() *TierState {
	if s.c.Tier == nil {
		return nil
	}
	s.tierMu.Lock()
	defer s.tierMu.Unlock()
	st := s.tierState
	st.Name = s.c.Tier.String()
	s.doomedMu.Lock()
	st.Doomed = len(s.doomed)
	s.doomedMu.Unlock()
	return &st
}

func (s *Store) tierNote(f func(st *TierState)) {
	s.tierMu.Lock()
	defer s.tierMu.Unlock()
	f(&s.tierState)
}

// keepTier moves groups that are old enough, and deletes what is to be deleted, until ctx ends.
func (s *Store) keepTier(ctx context.Context) {
	said := spell{log: s.c.Logger, what: "moving groups to the cold tier"}
	rest := time.Duration(0)
	for wait, first := time.Duration(0), true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		var err error
		if first || said.bad { // so that wrong keys are seen now, and not when the first group is old enough
			_, err = s.c.Tier.List(ctx, "", 1)
		}
		if first && err == nil {
			s.c.Logger.Info("cold tier answers", "bucket", s.c.Tier.String())
		}
		if err == nil {
			err = s.MoveToTier(ctx)
		} else {
			waiting := len(s.dueForTier())
			s.tierNote(func(st *TierState) { st.Waiting = waiting })
		}
		if ctx.Err() != nil {
			return
		}
		said.tell(err)
		s.tierNote(func(st *TierState) {
			switch {
			case err == nil:
				st.Err, st.Since = "", time.Time{}
			case st.Err == "":
				st.Err, st.Since = err.Error(), s.c.now()
			default:
				st.Err = err.Error()
			}
		})
		if wait, rest = s.c.Interval, 0; err != nil {
			rest = min(max(2*rest, tierRest), tierRestMost)
			wait = max(wait, rest)
		}
	}
}

// MoveToTier does one round of what Run does about the tier: it deletes what is to be deleted there, and moves all groups that are old enough. A
// bucket that deletes nothing is moved to all the same: else the disk would fill, and lose what was not moved.
func (s *Store) MoveToTier(ctx context.Context) error {
	if s.c.Tier == nil || s.c.ReadOnly {
		return nil
	}
	undeleted := s.deleteDoomed(ctx)
	for {
		due := s.dueForTier()
		s.tierNote(func(st *TierState) { st.Waiting = len(due) })
		if len(due) == 0 {
			return undeleted
		}
		if err := s.moveAll(ctx, due[:min(len(due), tierRound)]); err != nil || ctx.Err() != nil {
			return errors.Join(undeleted, err, ctx.Err())
		}
		if undeleted == nil {
			undeleted = s.deleteDoomed(ctx)
		}
	}
}

// dueForTier returns the whole groups that are old enough, the oldest first. The last group of a track stays: it tells what the track is.
func (s *Store) dueForTier() []*group {
	now := s.c.now()
	before := now.Add(-s.keep.Load().TierAfter).UnixNano()
	var olds []old
	for _, t := range s.all() {
		ids := t.Newest(math.MaxInt)
		for some := range slices.Chunk(ids[:max(len(ids)-1, 0)], lookedAtOnce) {
			t.mu.Lock()
			for _, id := range some {
				g := t.groups[id]
				if g != nil && g.state == complete && !g.tiered && !g.bad && g.mtime <= before && g.size >= s.c.leastTiered && g.size <= mostTiered && g.again < now.UnixNano() {
					olds = append(olds, old{g: g, mtime: g.mtime})
				}
			}
			t.mu.Unlock()
		}
	}
	slices.SortStableFunc(olds, func(a, b old) int { return cmp.Compare(a.mtime, b.mtime) })
	due := make([]*group, 0, len(olds))
	s.doomedMu.Lock()
	defer s.doomedMu.Unlock()
	for _, o := range olds {
		if _, doomed := s.doomed[o.g.key()]; !doomed { // what lay there before is deleted first
			due = append(due, o.g)
		}
	}
	return due
}

// moveAll moves groups, some at a time. It ends with an error when several in succession failed.
func (s *Store) moveAll(ctx context.Context, due []*group) error {
	var mu sync.Mutex
	var lanes sync.WaitGroup
	next, vain, last := 0, 0, error(nil)
	take := func() *group {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || next == len(due) || vain >= tierVain {
			return nil
		}
		next++
		return due[next-1]
	}
	for range tierLanes {
		lanes.Go(func() {
			for g := take(); g != nil; g = take() {
				err := g.move(ctx)
				mu.Lock()
				switch {
				case err == nil:
					vain = 0
				case errors.Is(err, errStays):
					vain = 0
				case ctx.Err() == nil:
					vain++
					last = err
				}
				mu.Unlock()
			}
		})
	}
	lanes.Wait()
	if vain == 0 {
		return nil
	}
	return last
}

// move brings a group to the tier. When it ends, by an error, too, or is killed, the group's file is on the disk or the object in the bucket is
// as it was asked for.
func (g *group) move(ctx context.Context) error {
	s := g.t.s
	ctx, cancel := context.WithTimeout(ctx, tierPatience)
	defer cancel()
	b, st, err := g.forTier()
	if err == nil && b == nil {
		return nil // it is gone
	}
	if err == nil {
		err = g.upload(ctx, b, st)
	}
	if err == nil {
		err = g.leave(st)
	}
	if errors.Is(err, errDropped) {
		return nil
	}
	if err == nil || ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return err
	}
	wait := tierAgain
	if errors.Is(err, errStays) {
		wait = tierStays
		s.tierNote(func(st *TierState) { st.Stays++ })
		s.c.Logger.Warn("group does not go to the cold tier", "track", g.t.name.String(), "group", g.id, "err", err)
	}
	g.t.mu.Lock()
	g.again = s.c.now().Add(wait).UnixNano()
	g.t.mu.Unlock()
	return fmt.Errorf("group %d of %v: %w", g.id, g.t.name, err)
}

// forTier returns the bytes for the bucket and the stub for the store; nil: the group is not there any more.
func (g *group) forTier() ([]byte, stub, error) {
	r, err := g.t.Open(g.id, 0)
	if errors.Is(err, ErrNotFound) {
		return nil, stub{}, nil
	}
	if err != nil {
		return nil, stub{}, err
	}
	defer r.Close()
	defer r.f.uncache()
	if r.g != g || !r.info.Complete || r.info.Tiered {
		return nil, stub{}, nil
	}
	var buf bytes.Buffer
	buf.Grow(int(r.info.Bytes))
	w, x := object.NewWriter(&buf), &index{}
	for {
		o, err := r.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, ErrDamaged) {
			return nil, stub{}, fmt.Errorf("%w: %w", errStays, err)
		}
		if err != nil {
			return nil, stub{}, err
		}
		if !hashed(o) {
			return nil, stub{}, fmt.Errorf("%w: object %d has no hash, or another one than it carries", errStays, o.ID)
		}
		if err := w.WriteObject(g.t.name, o); err != nil {
			return nil, stub{}, err
		}
		if buf.Len() > mostTiered { // as it can be of a group that is compressed on the disk
			return nil, stub{}, fmt.Errorf("%w: it has more than %d bytes", errStays, mostTiered)
		}
		x.add(o, entry{id: o.ID, off: w.Written() - w.LastSize(), size: w.LastSize(), status: o.Status, hash: object.Sum(o.Payload)})
	}
	if !x.whole() || x.messy {
		return nil, stub{}, fmt.Errorf("%w: it is not whole", errStays)
	}
	return buf.Bytes(), stub{size: int64(buf.Len()), mtime: r.info.Time.UnixNano(), idx: x}, nil
}

// hashed reports whether an object carries a hash, and its payload has it.
func hashed(o *object.Object) bool {
	if o.Status != object.Normal {
		return true
	}
	p, err := object.ParseProperties(o.Properties)
	return err == nil && p.HasHash && p.Hash == object.Sum(o.Payload)
}

// upload makes sure that the bucket has the group.
func (g *group) upload(ctx context.Context, b []byte, st stub) error {
	tier, key := g.t.s.c.Tier, g.key()
	want := Tiered{Bytes: int64(len(b)), Sum: object.Sum(b), Written: time.Unix(0, st.mtime)}
	doubt := g.wasDamaged()
	for try := 0; ; try++ {
		have, err := tier.Stat(ctx, key)
		replace := false
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case have.Sum == want.Sum && have.Bytes == want.Bytes && !doubt:
			return nil
		default:
			if replace, err = g.mayReplace(ctx, st); err != nil || !replace {
				return err
			}
		}
		err = tier.Put(ctx, key, b, want, replace)
		if errors.Is(err, fs.ErrExist) && try < 2 { // another relay was faster
			continue
		}
		return err
	}
}

// wasDamaged reports whether the group lay in the tier before and was damaged there. What the bucket says of the object is not believed then.
func (g *group) wasDamaged() bool {
	_, err := os.Lstat(g.path(extTier) + extBad)
	return err == nil
}

// mayReplace looks at what the bucket has of the group, which is not what would be uploaded: false: the same objects; true: it is damaged. An
// error that is errStays says that it is whole, and of other objects.
func (g *group) mayReplace(ctx context.Context, st stub) (bool, error) {
	b, _, err := g.t.s.c.Tier.Get(ctx, g.key(), 2*mostTiered)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	x, err := wholeGroup(b, g.t.name, g.id)
	switch {
	case err != nil:
		g.t.s.c.Logger.Warn("damaged object in the cold tier is replaced", "key", g.key(), "err", err)
		return true, nil
	case !x.same(st.idx):
		return false, fmt.Errorf("%w: the bucket has other objects under %s", errStays, g.key())
	}
	return false, nil
}

// leave puts the stub in the place of the group's file, unless the group was deleted meanwhile or has begun anew. The track's mutex is held only
// where nothing waits for the disk.
func (g *group) leave(st stub) error {
	t, s := g.t, g.t.s
	temp, err := g.writeStub(st)
	if errors.Is(err, fs.ErrNotExist) { // the folder went with the group
		if err = g.makeDirs(); err == nil {
			temp, err = g.writeStub(st)
		}
	}
	if err != nil {
		return err
	}
	s.finishMu.Lock() // so nobody compresses or removes the file
	defer s.finishMu.Unlock()
	if err := g.stand(temp); err != nil {
		return err
	}
	err = syncDir(g.dir())
	t.mu.Lock()
	defer t.mu.Unlock()
	switch now := t.at(g.id); {
	case now == nil: // it was set aside meanwhile, or forgotten
		t.add(g)
	case now != g && now.tiered: // the same, and then the stub was found
		return err
	case now != g || g.state != complete: // it has begun anew, and what it is then will be compared with what is there
		return errors.Join(err, errDropped, os.Remove(g.path(extTier)))
	default:
		local := g.current()
		if err == nil {
			err = os.Remove(local)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, os.Remove(g.path(extTier)))
		}
		err = nil
	}
	g.resize(0)
	g.zstd, g.tiered = false, true
	g.resize(st.size)
	s.tieredGroups.Add(1)
	if g.idx != nil {
		g.idx = st.idx
	}
	s.tierNote(func(n *TierState) { n.Moved, n.Bytes, n.Waiting = n.Moved+1, n.Bytes+st.size, max(n.Waiting-1, 0) })
	return err
}

// stand puts the stub beside the group's file, or in its place: a file that was removed for room, or is not there any more for another reason, is in
// the bucket now. If the group was deleted, it is to be deleted from the bucket.
func (g *group) stand(temp string) error {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	switch now := g.t.at(g.id); {
	case now == g && g.state == complete && !g.tiered, now == nil && !g.deleted:
		return g.keepStub(temp)
	case now != nil: // it has begun anew, and what it is then will be compared with what is there
		return errors.Join(errDropped, os.Remove(temp))
	}
	if err := os.Rename(temp, g.path(extGone)); err != nil {
		os.Remove(temp)
	}
	g.t.s.addDoomed(g.key(), g.path(extGone))
	return errDropped
}

// deleteDoomed deletes what is to be deleted from the bucket.
func (s *Store) deleteDoomed(ctx context.Context) error {
	for {
		s.doomedMu.Lock()
		keys := slices.Collect(maps.Keys(s.doomed))
		s.doomedMu.Unlock()
		if len(keys) == 0 {
			return nil
		}
		slices.Sort(keys)
		keys = keys[:min(len(keys), doomBatch)]
		if err := s.c.Tier.Remove(ctx, keys); err != nil {
			return err
		}
		for _, key := range keys {
			s.doomedMu.Lock()
			gone := s.doomed[key]
			s.doomedMu.Unlock()
			if err := os.Remove(gone); err != nil && !os.IsNotExist(err) {
				return err
			}
			os.Remove(filepath.Dir(gone)) // if it is empty
			s.doomedMu.Lock()
			delete(s.doomed, key)
			s.doomedMu.Unlock()
		}
	}
}
