package store

import (
	"context"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// indexInterval is how often the index is written while the store is open.
const indexInterval = 5 * time.Minute

// folders is what is known of the folders of groups, by their paths relative to that of all groups.
type folders struct {
	read    map[string]folderRecord // what the index said, while the store is opened
	seen    map[string]verified     // folders in which the groups lie that are in memory, and nothing else
	written map[string]verified     // what the index has
}

// verified is a folder that was seen to hold the files of so many groups, and nothing else.
type verified struct {
	at     stamp
	groups int
}

// recall takes the groups of a folder from the index; false: the folder has to be listed. The track's mutex is held.
func (s *Store) recall(t *Track, dir string) bool {
	path := s.below(dir)
	r, ok := s.folders.read[path]
	if !ok {
		return false
	}
	if at, ok := s.stampOf(dir); !ok || at != r.at {
		return false
	}
	files, ok := r.decode()
	if !ok || slices.ContainsFunc(files, func(f filed) bool { return shard(f.id) != filepath.Base(dir) || t.groups[f.id] != nil }) {
		return false
	}
	groups := make([]group, len(files))
	for i, f := range files {
		if f.kind == kindPart { // it is looked at, as without an index
			file := filepath.Join(dir, fileName(f))
			if fi, err := os.Lstat(file); err == nil {
				s.recoverFile(t, dir, fs.FileInfoToDirEntry(fi))
			} else if !os.IsNotExist(err) {
				s.leaveOut(file, err)
			}
			continue
		}
		g := &groups[i]
		*g = group{t: t, id: f.id, state: complete, zstd: f.kind == kindZstd, tiered: f.kind == kindTier, size: f.size, mtime: f.mtime}
		g.count(g.size)
		if g.tiered {
			s.tieredGroups.Add(1)
		}
		t.groups[g.id] = g
	}
	s.folders.seen[path] = verified{r.at, len(files)}
	return true
}

// below returns a folder's path as the index has it.
func (s *Store) below(dir string) string {
	path, _ := filepath.Rel(s.dir, dir)
	return path
}

// shards returns the track's groups, ascending, by their folders.
func (t *Track) shards() map[string][]uint64 {
	all := make(map[string][]uint64)
	name, last := "", uint64(0)
	for _, id := range t.Newest(math.MaxInt) {
		if n := shardNumber(id); name == "" || n != last {
			name, last = shard(id), n
		}
		all[name] = append(all[name], id)
	}
	return all
}

// filed returns what the index says of some groups.
func (t *Track) filed(ids []uint64) []filed {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]filed, 0, len(ids))
	for _, id := range ids {
		if g := t.groups[id]; g != nil {
			list = append(list, g.filed())
		}
	}
	return list
}

// snapshot returns an index of all folders that did not change a moment ago and hold what is in memory and nothing else.
func (s *Store) snapshot(now time.Time) (b []byte, have map[string]verified) {
	b, have = []byte(indexFormat), make(map[string]verified)
	for _, t := range s.all() {
		for name, ids := range t.shards() {
			files, dir := t.filed(ids), filepath.Join(t.dir(), name)
			path := s.below(dir)
			at, ok := s.stampOf(dir)
			if !ok || len(files) == 0 || at.change > now.Add(-s.c.settled).UnixNano() {
				continue
			}
			v := verified{at, len(files)}
			if s.folders.seen[path] == v || s.holds(dir, at, files) {
				have[path] = v
				b = appendFolder(b, path, at, files)
			}
		}
	}
	return b, have
}

// holds reports whether a folder holds some group files and nothing else.
func (s *Store) holds(dir string, at stamp, files []filed) bool {
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != len(files) {
		return false
	}
	names := make(map[string]bool, len(files))
	for _, f := range files {
		names[fileName(f)] = true
	}
	for _, e := range list {
		if !names[e.Name()] || !e.Type().IsRegular() {
			return false
		}
	}
	again, ok := s.stampOf(dir)
	return ok && again == at
}

// keepIndex writes the index when the store has been open for Config.Interval, and then every indexInterval, until ctx ends. To list many folders may
// take minutes, so Run does the rest of its work meanwhile.
func (s *Store) keepIndex(ctx context.Context) {
	said := once{log: s.c.Logger, what: "store index"}
	for wait := s.c.Interval; ; wait = indexInterval {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		said.tell(s.writeIndex())
	}
}

// writeIndex writes the index, if something else is known than what it has. A store of few groups, a disk without room, and a file system whose folders
// do not tell of each change go without.
func (s *Store) writeIndex() error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if s.c.ReadOnly || s.c.NoIndex || !tellsChanges(s.c.fsType(s.dir)) || s.Stats().Groups < s.c.leastIndexed || s.diskRoom() != nil || s.away() != nil {
		return nil
	}
	b, have := s.snapshot(time.Now())
	if s.folders.seen = have; len(have) == 0 || maps.Equal(have, s.folders.written) {
		return nil
	}
	if err := ReplaceFile(filepath.Join(filepath.Dir(s.dir), indexFile), b); err != nil {
		return err
	}
	s.folders.written = have
	return nil
}
