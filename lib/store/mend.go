package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"every.channel/ec/lib/object"
)

// Mend keeps what verifies of a group's damaged file as an unfinished group, so that the rest can come again, and sets the file aside; of a file that
// cannot be read nothing is kept. It returns how many objects there are then. Whenever it fails or is interrupted, the old file or the new one is
// where the group is looked for.
func (t *Track) Mend(group uint64) (kept int, err error) {
	if t.s.c.ReadOnly {
		return 0, ErrReadOnly
	}
	tiered, inTier, err := t.fromTier(group)
	if err != nil {
		return 0, err
	}
	t.s.finishMu.Lock() // so nobody compresses or removes the file
	defer t.s.finishMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil || g.tiered && g != tiered {
		return 0, fmt.Errorf("group %d of %v: %w", group, t.name, ErrNotFound)
	}
	g.closeFile()
	saved := g.path(extPart) + extTemp
	defer os.Remove(saved) // if it did not get its name
	kept, why, err := g.saveUnlocked(saved, inTier)
	if err == nil && t.groups[group] != g {
		err = fmt.Errorf("group %d of %v: %w", group, t.name, errChanged)
	}
	if err != nil {
		return 0, err
	}
	if err = g.replace(saved, kept > 0, why); err != nil && t.groups[group] == g || kept == 0 {
		return 0, err
	}
	_, aerr := t.adopt(group) // also if the folder was not synced
	return kept, errors.Join(err, aerr)
}

// saveUnlocked is save. Nobody writes to the file of a complete group, so the track's mutex is free meanwhile.
func (g *group) saveUnlocked(to string, inTier []byte) (kept int, why, err error) {
	if g.state == complete {
		g.t.mu.Unlock()
		defer g.t.mu.Lock()
	}
	return g.save(to, inTier)
}

// fromTier returns what the bucket has of a group, if the group lies there: whatever it is, and nothing if it is not there.
func (t *Track) fromTier(group uint64) (*group, []byte, error) {
	t.mu.Lock()
	g := t.groups[group]
	tiered := g != nil && g.tiered
	t.mu.Unlock()
	if !tiered {
		return nil, nil, nil
	}
	if t.s.c.Tier == nil {
		return nil, nil, fmt.Errorf("group %d of %v: %w", group, t.name, errNoTier)
	}
	ctx, cancel := context.WithTimeout(t.s.cold.ctx, coldPatience)
	defer cancel()
	b, _, err := t.s.cold.raw(ctx, g, 2*mostTiered)
	if errors.Is(err, ErrDamaged) {
		err = nil
	}
	return g, b, err
}

// save writes the objects of a group's file that verify to another one, in order, and syncs it. If there are none it writes nothing. why is what is
// wrong with the file, and err says that nothing is to be changed.
func (g *group) save(to string, inTier []byte) (n int, why, err error) {
	if g.tiered {
		list, why := g.whatVerifies(bytes.NewReader(inTier))
		if st, err := g.t.s.readStub(g.path(extTier)); err == nil && st.idx != nil {
			list = slices.DeleteFunc(list, func(o *object.Object) bool {
				i, found := st.idx.find(o.ID)
				return !found || st.idx.entries[i].hash != object.Sum(o.Payload)
			})
		}
		return g.saveList(to, list, why)
	}
	f, err := g.t.s.pool.openFile(g.current(), os.O_RDONLY)
	if unusable(err) {
		return 0, err, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	src, done, err := decompress(f, g.zstd)
	if err != nil {
		return 0, nil, err
	}
	defer done()
	list, why := g.whatVerifies(src)
	if passing(why) {
		return 0, nil, why
	}
	return g.saveList(to, list, why)
}

// saveList writes objects to a file and syncs it, if there are any.
func (g *group) saveList(to string, list []*object.Object, why error) (int, error, error) {
	if len(list) == 0 {
		return 0, why, nil
	}
	out, err := g.t.s.pool.openFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, nil, err
	}
	w := object.NewWriter(g.t.s.writer(out))
	for _, o := range list {
		err = errors.Join(err, w.WriteObject(g.t.name, o))
	}
	mtime := time.Unix(0, g.mtime)
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = os.Chtimes(to, mtime, mtime)
	}
	return len(list), why, err
}

// replace sets a group's file aside and puts the saved one, if there is one, in its place. The new file is there before the old one goes: a
// complete group's file counts as long as both are there, and that of an unfinished one has two names meanwhile.
func (g *group) replace(saved string, some bool, why error) error {
	part := g.path(extPart)
	switch {
	case !some:
		return g.setAside(why)
	case g.state == complete:
		if err := errors.Join(g.rename(saved, part), syncDir(g.dir())); err != nil {
			os.Remove(part)
			return err
		}
		if err := g.setAside(why); err != nil {
			return errors.Join(err, os.Remove(part))
		}
		return syncDir(g.dir())
	}
	free := freeName(part + extBad)
	if err := os.Link(part, free); err != nil { // there are file systems without links
		if err := g.setAside(why); err != nil {
			return err
		}
		return errors.Join(g.rename(saved, part), syncDir(g.dir()))
	}
	if err := os.Rename(saved, part); err != nil {
		return errors.Join(err, os.Remove(free))
	}
	g.t.s.leaveOut(free, fmt.Errorf("set aside: %w", why))
	g.resize(0)
	g.t.drop(g)
	return syncDir(g.dir())
}

// whatVerifies returns the objects in a group file that are of the group and verify, ascending, and why the rest is not what was stored.
func (g *group) whatVerifies(src io.Reader) (list []*object.Object, why error) {
	r := object.NewReader(src)
	why = ErrDamaged
	for {
		rec, err := r.Next()
		if errors.As(err, new(*object.CorruptError)) {
			continue
		}
		if err != nil {
			if err != io.EOF {
				why = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			break
		}
		o := rec.Object
		if rec.IsTrack || !rec.Track.Name.Equal(g.t.name) || o.Group != g.id || !verifies(&o) {
			continue
		}
		o.Payload, o.Properties = slices.Clone(o.Payload), slices.Clone(o.Properties)
		list = append(list, &o)
	}
	slices.SortStableFunc(list, func(a, b *object.Object) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(list, func(a, b *object.Object) bool { return a.ID == b.ID }), why
}
