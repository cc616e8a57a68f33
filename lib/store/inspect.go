package store

import (
	"errors"
	"fmt"
	"io"
	"slices"

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
