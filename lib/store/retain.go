package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/object"
)

// roomAtLeast is how much makeRoom frees at once, so that a full disk does not mean a removal per object.
const roomAtLeast = 16 << 20

// old is a group that may be removed.
type old struct {
	t      *Track
	g      *group
	rule   int
	size   int64
	mtime  int64
	tiered bool          // it takes no room on the disk
	age    time.Duration // that it is kept; 0: for ever
}

// Maintain does one round of what Run does: flush, retention, compression.
func (s *Store) Maintain() error {
	if s.c.ReadOnly {
		return nil
	}
	err := s.Flush()
	s.finishMu.Lock()
	defer s.finishMu.Unlock()
	return errors.Join(err, s.retain(), s.compress())
}

// removable returns all groups but the last one of each track, withheld ones too, oldest first, and the bytes under each rule. The last group is
// removed only together with its namespace, because a catalog may be older than all chunks that it describes.
func (s *Store) removable() (olds []old, bytes map[int]int64) {
	now := s.c.now()
	bytes = make(map[int]int64)
	fresh := make(map[string]bool) // namespaces with a group younger than their age limit
	var last []old
	for _, t := range s.all() {
		t.mu.Lock()
		rule, keep := t.rule, t.keep
		for i, id := range t.ids {
			g := t.groups[id]
			o := old{t: t, g: g, rule: rule, size: g.size, mtime: g.mtime, tiered: g.tiered, age: keep.ageOf(rule, g.state == complete)}
			if !g.tiered {
				bytes[rule] += g.size
			}
			switch {
			case g.state == finishing:
				fresh[t.name.Namespace.String()] = true
			case i == len(t.ids)-1:
				last = append(last, o)
				if o.age <= 0 || now.Sub(time.Unix(0, g.mtime)) <= o.age {
					fresh[t.name.Namespace.String()] = true
				}
			default:
				olds = append(olds, o)
			}
		}
		for _, g := range t.held {
			if g.state != finishing {
				olds = append(olds, old{t: t, g: g, rule: rule, size: g.size, mtime: g.mtime, tiered: g.tiered, age: keep.ageOf(rule, g.state == complete)})
			}
			if !g.tiered {
				bytes[rule] += g.size
			}
		}
		t.mu.Unlock()
	}
	for _, o := range last {
		if !fresh[o.t.name.Namespace.String()] {
			olds = append(olds, o)
		}
	}
	slices.SortStableFunc(olds, func(a, b old) int { return cmp.Compare(a.mtime, b.mtime) })
	return olds, bytes
}

func (c Config) bounds(rule int) (age time.Duration, bytes int64) {
	if rule < 0 {
		return c.MaxAge, c.MaxBytes
	}
	return c.Rules[rule].MaxAge, c.Rules[rule].MaxBytes
}

func (s *Store) retain() error {
	c := s.keep.Load()
	if !c.removes() {
		return nil
	}
	olds, bytes := s.removable()
	now := s.c.now()
	var errs []error
	unmoved := 0
	for _, o := range olds {
		_, limit := c.bounds(o.rule)
		aged := o.age > 0 && now.Sub(time.Unix(0, o.mtime)) > o.age
		over := !o.tiered && (limit > 0 && o.rule >= 0 && bytes[o.rule] > limit || c.MaxBytes > 0 && s.bytes.Load() > c.MaxBytes)
		if !aged && !over {
			continue
		}
		if !o.tiered {
			bytes[o.rule] -= o.size
		}
		if over && !aged && s.c.Tier != nil && o.size >= s.c.leastTiered {
			unmoved++
		}
		errs = append(errs, s.remove(o, !aged))
	}
	if unmoved > 0 {
		s.c.Logger.Error("groups removed before they went to the cold tier, the disk's bound comes first", "groups", unmoved)
	}
	return errors.Join(errs...)
}

// forEver reports whether groups under a rule are removed by nothing but the bound of the whole store.
func (c Config) forEver(rule int) bool {
	age, bytes := c.bounds(rule)
	return age <= 0 && bytes <= 0
}

// atTheEdge is how much later than its group the last word about the group may be stored, by which the group is known.
const atTheEdge = 2 * time.Minute

// MayBeGone returns what reports whether retention may have removed a group of which something was stored at a time, perhaps before the
// store was opened. All groups are looked at once, for the oldest that may be removed, however often it is asked.
func (s *Store) MayBeGone() func(name object.TrackName, group uint64, at time.Time) bool {
	edge := sync.OnceValue(func() time.Time {
		olds, _ := s.removable()
		olds = slices.DeleteFunc(olds, func(o old) bool { return o.tiered })
		if len(olds) == 0 {
			return s.c.now().Add(atTheEdge)
		}
		return time.Unix(0, olds[0].mtime).Add(atTheEdge)
	})
	near := func(have, bound int64) bool { return bound > 0 && have >= bound-bound/reserve }
	return func(name object.TrackName, group uint64, at time.Time) bool {
		if s.Gone(name, group) {
			return true
		}
		c := s.keep.Load()
		rule := c.rule(name.Namespace)
		age := c.ageOf(rule, true)
		_, limit := c.bounds(rule)
		if age > 0 && s.c.now().Sub(at) > age-min(atTheEdge, age/2) {
			return true
		}
		full := near(s.bytes.Load(), c.MaxBytes) || rule >= 0 && near(c.ruled[rule].Load(), limit)
		return full && at.Before(edge())
	}
}

// makeRoom removes the oldest groups that may be removed and that the configuration allows to remove. Groups that are kept for
// ever are removed only as far as the bound of the whole store removes them, and only for what is live.
func (s *Store) makeRoom(need int64, may func(old) bool, live bool) bool {
	if !s.keep.Load().removes() {
		return false
	}
	if err := s.Flush(); err != nil { // a group that waits for its final name cannot be removed
		s.c.Logger.Warn("whole groups kept under their partial names", "err", err)
	}
	s.finishMu.Lock()
	defer s.finishMu.Unlock()
	c := s.keep.Load()
	olds, _ := s.removable()
	freed := int64(0)
	for _, o := range olds {
		if freed >= max(need, roomAtLeast) {
			break
		}
		if o.tiered || !may(o) || c.forEver(o.rule) && (!live || c.MaxBytes <= 0) {
			continue
		}
		if err := s.remove(o, true); err != nil {
			s.c.Logger.Error("no room made", "err", err)
			break
		}
		freed += o.size
	}
	if freed > 0 {
		s.c.Logger.Warn("disk full, oldest groups removed", "bytes", freed)
	}
	return freed > 0
}

// Clear removes all that is stored of a track, also groups that wait for their final names. It begins with the newest: if the relay is
// killed meanwhile, the oldest are left, and a publisher who counts from 0 contradicts them again.
func (t *Track) Clear() error {
	t.s.finishMu.Lock()
	defer t.s.finishMu.Unlock()
	t.mu.Lock()
	ids := slices.Clone(t.ids)
	t.mu.Unlock()
	var err error
	for _, id := range slices.Backward(ids) {
		t.mu.Lock()
		if g := t.groups[id]; g != nil {
			err = errors.Join(err, t.s.unlink(g))
		}
		t.mu.Unlock()
	}
	t.mu.Lock()
	t.gone = 0 // groups with these ids may come again
	t.mu.Unlock()
	return err
}

// remove deletes a group, unless the group has changed since it was looked at. forRoom says that it would be kept if there were room on the disk: if
// it is being moved to the tier, it will lie there.
func (s *Store) remove(o old, forRoom bool) error {
	o.t.mu.Lock()
	defer o.t.mu.Unlock()
	g := o.g
	if o.t.at(g.id) != g || g.state == finishing || g.mtime != o.mtime {
		return nil
	}
	err := s.unlink(g)
	g.deleted = g.deleted && !forRoom
	return err
}

// unlink deletes a group. The track's mutex is held.
func (s *Store) unlink(g *group) error {
	remove := func() error { return os.Remove(g.current()) }
	if g.tiered {
		remove = g.doom
	}
	if err := remove(); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove group %d of %v: %w", g.id, g.t.name, err)
	}
	g.resize(0)
	g.deleted = true
	g.t.gone = max(g.t.gone, g.id+1)
	g.t.drop(g)
	s.stats.removed.Add(1)
	os.Remove(g.dir()) // if it is empty
	return nil
}
