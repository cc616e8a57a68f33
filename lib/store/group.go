package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/object"
)

type state uint8

const (
	partial   state = iota // .eco.part; some of it may be missing
	finishing              // .eco.part; whole, waits for Flush
	complete               // .eco or .eco.zst: synced, objects ascending, nothing missing
)

// group is one group file. The track's mutex guards it.
type group struct {
	t        *Track
	id       uint64
	state    state
	zstd     bool
	tiered   bool // the file is a stub, and the objects lie in the tier
	size     int64
	mtime    int64       // Unix ns
	copied   bool        // the group was fetched from another relay after later groups: mtime is not when it was first written
	declared bool        // the file's last record is of this group, and was written since the store was opened
	held     atomic.Bool // it is withheld, and a group of Track.held
	bad      bool        // its file could not be read when that was last tried
	again    int64       // when it may be tried again to move it to the tier, Unix ns
	deleted  bool        // it was removed by its age or by an order, and not for room, so the tier is not to have it either
	idx      *index      // nil when not in memory

	a *appender // nil: not opened for appending since the store was opened, or since the group was looked at last
}

// index says where the objects of a group are in its file.
type index struct {
	entries []entry // ascending by id
	hasEnd  bool
	end     uint64 // id that the end of group carries
	messy   bool   // objects are not in order in the file, or there is damage between them
}

type entry struct {
	id        uint64
	off, size int64
	status    object.Status
	hash      object.Hash
}

func (x *index) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(x.entries, id, func(e entry, id uint64) int { return cmp.Compare(e.id, id) })
}

// judge compares an object with the stored ones; Stored means that it is new and fits.
func (x *index) judge(o *object.Object, sum object.Hash) Result {
	i, found := x.find(o.ID)
	switch {
	case found && x.entries[i].status == o.Status && x.entries[i].hash == sum:
		return Duplicate
	case found, x.hasEnd && o.ID >= x.end, o.Status != object.Normal && (x.hasEnd || i < len(x.entries)):
		return Conflict
	}
	return Stored
}

func (x *index) add(o *object.Object, e entry) {
	i, found := x.find(e.id)
	if found {
		return
	}
	x.messy = x.messy || i < len(x.entries)
	x.entries = slices.Insert(x.entries, i, e)
	if o.Status != object.Normal {
		x.hasEnd, x.end = true, o.ID
	}
}

// whole reports that every object from 0 to the end is there.
func (x *index) whole() bool { return x.hasEnd && uint64(len(x.entries)) == x.end+1 }

func (g *group) info() Info {
	return Info{Group: g.id, Complete: g.state != partial && !g.bad, Damaged: g.state == complete && g.bad, Tiered: g.tiered, Bytes: g.size, Time: time.Unix(0, g.mtime)}
}

func (g *group) dir() string { return filepath.Join(g.t.dir(), shard(g.id)) }

// dir is the folder of the track's folders.
func (t *Track) dir() string {
	return filepath.Join(t.s.dir, folder(t.name.Namespace.String()), folder(object.Written(t.name.Name)))
}

func (g *group) path(ext string) string {
	return filepath.Join(g.dir(), strconv.FormatUint(g.id, 10)+ext)
}

func (g *group) current() string {
	switch {
	case g.state != complete:
		return g.path(extPart)
	case g.tiered:
		return g.path(extTier)
	case g.zstd:
		return g.path(extZstd)
	}
	return g.path(extWhole)
}

// resize keeps the store's sum of bytes.
func (g *group) resize(size int64) {
	g.count(size - g.size)
	g.size = size
}

// count updates the sum of bytes to which the group belongs.
func (g *group) count(bytes int64) {
	if g.tiered {
		g.t.s.tieredBytes.Add(bytes)
	} else {
		g.t.count(bytes)
	}
}

// write appends an object to the file, whole or not at all. errChanged: the file is not as the store left it, and the group has to be looked up
// again.
func (g *group) write(o *object.Object, sum object.Hash) error {
	a, err := g.append()
	if err != nil {
		return err
	}
	before := a.w.Written()
	if err := a.w.WriteObject(g.t.name, o); err != nil {
		return errors.Join(err, g.undo())
	}
	g.resize(g.size + a.w.Written() - before)
	g.declared = true
	g.idx.add(o, entry{id: o.ID, off: g.size - a.w.LastSize(), size: a.w.LastSize(), status: o.Status, hash: sum})
	if g.copied {
		a.age = g.mtime
	} else {
		g.mtime, a.age = g.t.s.c.now().UnixNano(), 0
	}
	g.t.s.pool.give(&a.handle)
	return nil
}

// load brings the index into memory.
func (g *group) load() error {
	if g.idx != nil {
		return nil
	}
	if g.tiered {
		return g.loadStub()
	}
	f, err := g.t.s.pool.openFile(g.current(), os.O_RDONLY)
	if err != nil {
		return g.unreadable(g.vanished(err))
	}
	defer f.Close()
	src, done, err := decompress(f, g.zstd)
	if err != nil {
		return g.unreadable(err)
	}
	defer done()
	x, _, err := scan(src, g.t.name, g.id)
	if err == nil && g.state == complete && (x.messy || !x.whole()) {
		err = ErrDamaged
	}
	if err != nil {
		return g.unreadable(fmt.Errorf("%s: %w", f.Name(), err))
	}
	g.idx = x
	g.readable()
	return nil
}

// scan reads a group file and returns its index and the end of its last whole record.
func scan(src io.Reader, name object.TrackName, id uint64) (x *index, end int64, err error) {
	x = &index{}
	r := object.NewReader(src)
	for {
		rec, err := r.Next()
		var corrupt *object.CorruptError
		switch {
		case errors.As(err, &corrupt):
			x.messy = true
			continue
		case err == io.EOF, errors.Is(err, object.ErrTruncated), errors.Is(err, object.ErrMagic):
			return x, end, nil
		case err != nil && !errors.As(err, new(*fs.PathError)): // another version, or damage to what was compressed
			return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return nil, 0, err
		}
		if !rec.Track.Name.Equal(name) || !rec.IsTrack && rec.Object.Group != id {
			return nil, 0, fmt.Errorf("%w: holds %v group %d", ErrDamaged, rec.Track.Name, rec.Object.Group)
		}
		end = rec.Offset + rec.Size
		if rec.IsTrack {
			continue
		}
		o := &rec.Object
		x.add(o, entry{id: o.ID, off: rec.Offset, size: rec.Size, status: o.Status, hash: object.Sum(o.Payload)})
	}
}

// failing cuts writes short for tests.
type failing struct {
	w    io.Writer
	fail func(int) (int, error)
}

// writer is where objects of a group's file are written to.
func (s *Store) writer(f *os.File) io.Writer {
	if s.c.fail == nil {
		return f
	}
	return &failing{f, s.c.fail}
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.fail(len(p))
	if n > 0 {
		if n, werr := f.w.Write(p[:n]); werr != nil {
			return n, werr
		}
	}
	return n, err
}
