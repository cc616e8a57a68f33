package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"every.channel/ec/lib/object"
)

// Verify reads a group to its end and compares each payload with the hash that the object carries. It returns how many objects and bytes of payloads
// are what was stored, and what is wrong with the rest; nil: nothing. A group that is not whole is right if what there is of it is.
func (t *Track) Verify(group uint64) (objects int, bytes int64, err error) {
	r, err := t.Open(group, 0)
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err == io.EOF {
			return objects, bytes, nil
		}
		if err == nil && !verifies(o) {
			err = fmt.Errorf("group %d of %v: %w: object %d: %w", group, t.name, ErrDamaged, o.ID, object.ErrHash)
			r.g.cameToEnd(err)
		}
		if err != nil {
			return objects, bytes, err
		}
		objects++
		bytes += int64(len(o.Payload))
	}
}

// verifies reports whether an object does not contradict the hash that it carries.
func verifies(o *object.Object) bool {
	if o.Status != object.Normal {
		return true
	}
	p, err := object.ParseProperties(o.Properties)
	return err != nil || !p.HasHash || p.Hash == object.Sum(o.Payload)
}

// Mend keeps what verifies of a group's damaged file as an unfinished group, so that the rest can come again, and sets the file aside; of a file that
// cannot be read nothing is kept. It returns how many objects there are then.
func (t *Track) Mend(group uint64) (kept int, err error) {
	t.s.finishMu.Lock()
	defer t.s.finishMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		return 0, fmt.Errorf("group %d of %v: %w", group, t.name, ErrNotFound)
	}
	if t.s.c.ReadOnly {
		return 0, ErrReadOnly
	}
	g.closeFile()
	saved, why := g.path(extPart)+extTemp, ErrDamaged
	kept, err = g.save(saved)
	if err != nil {
		why = err
	}
	if isFull(err) || noFiles(err) { // nothing was changed
		return 0, errors.Join(err, os.Remove(saved))
	}
	mtime := time.Unix(0, g.mtime)
	if err := g.setAside(why); err != nil {
		return 0, errors.Join(err, os.Remove(saved))
	}
	if kept == 0 {
		os.Remove(saved)
		return 0, nil
	}
	err = errors.Join(os.Chtimes(saved, mtime, mtime), os.Rename(saved, g.path(extPart)), syncDir(g.dir()))
	if err == nil {
		_, err = t.adopt(group)
	}
	return kept, err
}

// save writes the objects of a group's file that verify to another one, in order, and syncs it.
func (g *group) save(to string) (n int, err error) {
	f, err := g.t.s.pool.openFile(g.current(), os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	src, done, err := decompress(f, g.zstd)
	if err != nil {
		return 0, err
	}
	defer done()
	list := g.whatVerifies(src)
	if len(list) == 0 {
		return 0, nil
	}
	out, err := g.t.s.pool.openFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, err
	}
	w := object.NewWriter(out)
	for _, o := range list {
		err = errors.Join(err, w.WriteObject(g.t.name, o))
	}
	return len(list), errors.Join(err, out.Sync(), out.Close())
}

// whatVerifies returns the objects in a group file that are of the group and verify, ascending.
func (g *group) whatVerifies(src io.Reader) (list []*object.Object) {
	r := object.NewReader(src)
	for {
		rec, err := r.Next()
		if errors.As(err, new(*object.CorruptError)) {
			continue
		}
		if err != nil {
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
	return slices.CompactFunc(list, func(a, b *object.Object) bool { return a.ID == b.ID })
}

// Delete removes the groups that match, newest first, and returns how many bytes of which groups they were.
func (t *Track) Delete(match func(Info) bool) (groups int, bytes int64, err error) {
	if t.s.c.ReadOnly {
		return 0, 0, ErrReadOnly
	}
	t.s.finishMu.Lock()
	defer t.s.finishMu.Unlock()
	t.mu.Lock()
	ids := slices.Clone(t.ids)
	t.mu.Unlock()
	for _, id := range slices.Backward(ids) {
		t.mu.Lock()
		if g := t.groups[id]; g != nil && match(g.info()) {
			size := g.size
			if uerr := t.s.unlink(g); uerr != nil {
				err = errors.Join(err, uerr)
			} else {
				groups, bytes = groups+1, bytes+size
			}
		}
		t.mu.Unlock()
	}
	return groups, bytes, err
}
