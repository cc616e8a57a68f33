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
	return r.verify(func(int) error { return nil })
}

// Scrub does the same with what the disk has, and not with what lies in memory of the file; nor does the file stay there. pace is called for the
// bytes of each payload, and its error ends it.
func (t *Track) Scrub(group uint64, pace func(bytes int) error) (objects int, bytes int64, err error) {
	r, err := t.Open(group, 0)
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	r.f.uncache()
	defer r.f.uncache()
	return r.verify(pace)
}

func (r *Reader) verify(pace func(bytes int) error) (objects int, bytes int64, err error) {
	group, name := r.info.Group, r.name
	for {
		o, err := r.Next()
		if err == io.EOF {
			return objects, bytes, nil
		}
		if err == nil && !verifies(o) {
			err = fmt.Errorf("group %d of %v: %w: object %d: %w", group, name, ErrDamaged, o.ID, object.ErrHash)
			r.g.cameToEnd(err)
		}
		if err != nil {
			return objects, bytes, err
		}
		objects++
		bytes += int64(len(o.Payload))
		if err := pace(len(o.Payload)); err != nil {
			return objects, bytes, err
		}
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

// MayPass reports whether an error of reading a group says nothing about the group's file: there is no memory or no descriptor at the moment, or
// the disk is away.
func MayPass(err error) bool { return passing(err) || errors.Is(err, errAway) }

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
