package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"every.channel/ec/lib/object"
)

// Relisted is what became of a part of the bucket's list.
type Relisted struct {
	Keys  int    // objects that were listed
	Taken int    // groups of them that the store did not have, and knows from now on
	Bytes int64  // of these
	Other int    // objects that are no groups of a store
	After string // the last key that was listed; empty: that was all
}

// Relist lists up to so many objects of the bucket behind a key, and makes stubs of groups that the store does not have.
func (s *Store) Relist(ctx context.Context, after string, most int) (r Relisted, err error) {
	if s.c.Tier == nil {
		return r, errNoTier
	}
	if s.c.ReadOnly {
		return r, ErrReadOnly
	}
	keys, err := s.c.Tier.List(ctx, after, most)
	if err != nil {
		return r, fmt.Errorf("%w: %w", errTier, err)
	}
	names := make(map[string]object.TrackName) // by folder, of this part
	for _, k := range keys {
		r.Keys++
		name, id, err := s.nameOf(ctx, k, names)
		if errors.Is(err, errTier) {
			return r, err
		}
		if err != nil {
			s.c.Logger.Debug("object in the bucket is no group", "key", k.Key, "err", err)
			r.Other++
			continue
		}
		taken, err := s.Track(name).takeListed(id, k)
		if !taken {
			s.Forget(name) // if there is nothing of it
		}
		if err != nil {
			return r, err
		}
		if taken {
			r.Taken, r.Bytes = r.Taken+1, r.Bytes+k.Bytes
		}
	}
	if len(keys) == most {
		r.After = keys[len(keys)-1].Key
	}
	return r, nil
}

// nameOf returns the group that an object's key names. Names that are too long for a folder are read from the object itself.
func (s *Store) nameOf(ctx context.Context, k TieredKey, names map[string]object.TrackName) (name object.TrackName, id uint64, err error) {
	parts := strings.Split(k.Key, "/")
	if len(parts) != 4 {
		return name, 0, errForeign
	}
	id, ext, ok := groupFile(parts[3])
	if !ok || ext != extWhole || parts[2] != shard(id) || k.Bytes > mostTiered { // a larger one would be read into memory
		return name, 0, errForeign
	}
	folders := path.Join(parts[0], parts[1])
	name, known := names[folders]
	if known {
		return name, id, nil
	}
	if name, err = s.nameOfFolders(ctx, k, parts[0], parts[1]); err != nil {
		return name, 0, err
	}
	if folder(name.Namespace.String()) != parts[0] || folder(object.Written(name.Name)) != parts[1] {
		return name, 0, errForeign
	}
	names[folders] = name
	return name, id, nil
}

func (s *Store) nameOfFolders(ctx context.Context, k TieredKey, ns, track string) (name object.TrackName, err error) {
	if !strings.HasPrefix(ns, "-") && (track == "-" || !strings.HasPrefix(track, "-")) {
		return object.ParseTrackName(ns + "--" + strings.TrimPrefix(track, "-"))
	}
	b, _, err := s.c.Tier.Get(ctx, k.Key, 2*mostTiered)
	if errors.Is(err, fs.ErrNotExist) {
		return name, errForeign
	}
	if err != nil {
		return name, fmt.Errorf("%w: %w", errTier, err)
	}
	rec, err := object.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		return name, err
	}
	return rec.Track.Name, nil
}

// takeListed makes a stub of a group that is not there; false: it is there, or about to be deleted.
func (t *Track) takeListed(id uint64, k TieredKey) (taken bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := &group{t: t, id: id, state: complete, tiered: true, size: k.Bytes, mtime: k.Written.UnixNano()}
	t.s.doomedMu.Lock()
	_, doomed := t.s.doomed[g.key()]
	t.s.doomedMu.Unlock()
	if t.at(id) != nil || doomed {
		return false, nil
	}
	if _, err := os.Lstat(g.path(extTier)); err == nil { // it is there and damaged
		return false, nil
	}
	if err := g.makeDirs(); err != nil {
		return false, err
	}
	temp, err := g.writeStub(stub{size: k.Bytes, mtime: g.mtime})
	if err == nil {
		err = g.keepStub(temp)
	}
	if err != nil {
		return false, err
	}
	g.count(g.size)
	t.s.tieredGroups.Add(1)
	t.add(g)
	return true, nil
}
