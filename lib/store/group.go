package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	t      *Track
	id     uint64
	state  state
	zstd   bool
	size   int64
	mtime  int64  // Unix ns
	copied bool   // the group was fetched from another relay after later groups: mtime is not when it was first written
	idx    *index // nil when not in memory

	f *os.File // for appending; nil when closed
	w *object.Writer
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
	return Info{Group: g.id, Complete: g.state != partial, Bytes: g.size, Time: time.Unix(0, g.mtime)}
}

func (g *group) dir() string {
	n := g.t.name
	return filepath.Join(g.t.s.dir, folder(n.Namespace.String()), folder(object.Written(n.Name)), shard(g.id))
}

func (g *group) path(ext string) string {
	return filepath.Join(g.dir(), strconv.FormatUint(g.id, 10)+ext)
}

func (g *group) current() string {
	switch {
	case g.state != complete:
		return g.path(extPart)
	case g.zstd:
		return g.path(extZstd)
	}
	return g.path(extWhole)
}

// resize keeps the store's sum of bytes.
func (g *group) resize(size int64) {
	g.t.count(size - g.size)
	g.size = size
}

// write appends an object to the file, whole or not at all.
func (g *group) write(o *object.Object, sum object.Hash) error {
	if g.f == nil {
		if err := g.openFile(); err != nil {
			return err
		}
	}
	before := g.w.Written()
	err := g.w.WriteObject(g.t.name, o)
	if err != nil {
		return errors.Join(err, g.undo())
	}
	g.resize(g.size + g.w.Written() - before)
	g.idx.add(o, entry{id: o.ID, off: g.size - g.w.LastSize(), size: g.w.LastSize(), status: o.Status, hash: sum})
	if !g.copied {
		g.mtime = g.t.s.c.now().UnixNano()
	}
	return nil
}

// age sets the modification time of a copy's file; the track's lock is held.
func (g *group) age(path string) error {
	if !g.copied {
		return nil
	}
	at := time.Unix(0, g.mtime)
	return os.Chtimes(path, at, at)
}

// undo removes the bytes that a failed write left behind the last whole record.
func (g *group) undo() error {
	var err error
	if g.size > 0 {
		err = g.f.Truncate(g.size)
	} else {
		err = os.Remove(g.f.Name())
	}
	g.closeFile()
	if err != nil {
		g.idx.messy = true // finish writes a clean file
	}
	return err
}

func (g *group) openFile() error {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	path := g.path(extPart)
	f, err := os.OpenFile(path, flags, 0o644)
	if g.size == 0 && os.IsNotExist(err) {
		if err := g.makeDirs(); err != nil {
			return err
		}
		f, err = os.OpenFile(path, flags, 0o644)
	}
	if err != nil {
		return err
	}
	var w io.Writer = f
	if fail := g.t.s.c.fail; fail != nil {
		w = &failing{f, fail}
	}
	g.f = f
	if g.size == 0 {
		g.w = object.NewWriter(w)
	} else {
		g.w = object.NewAppendWriter(w, g.t.name)
	}
	return nil
}

func (g *group) makeDirs() error {
	n := g.t.name
	dir, err := makeFolder(g.t.s.dir, n.Namespace.String())
	if err == nil {
		dir, err = makeFolder(dir, object.Written(n.Name))
	}
	if err == nil {
		_, err = makeFolder(dir, shard(g.id))
	}
	return err
}

func (g *group) closeFile() {
	if g.f != nil {
		g.age(g.f.Name())
		g.f.Close() // the written bytes are in the page cache; finish syncs them through a handle of its own
		g.f, g.w = nil, nil
	}
}

// vanished forgets a group whose file somebody removed, so that the group can be stored again. While the whole folder of the
// store is gone nothing is forgotten, because it may be mounted again.
func (g *group) vanished(err error) error {
	if !os.IsNotExist(err) || g.t.groups[g.id] != g {
		return err
	}
	if _, gone := os.Stat(g.t.s.dir); gone != nil {
		return err
	}
	g.t.s.c.Logger.Error("group file was removed by somebody else", "track", g.t.name.String(), "group", g.id)
	g.resize(0)
	g.t.drop(g)
	return fmt.Errorf("%w: %w", ErrNotFound, err)
}

// setAside renames a damaged file and forgets the group.
func (g *group) setAside() error {
	path := g.current()
	if err := os.Rename(path, path+extBad); err != nil {
		return err
	}
	g.t.s.c.Logger.Warn("damaged group set aside", "path", path)
	g.resize(0)
	g.t.drop(g)
	return nil
}

// finish syncs a whole group and gives it its final name; the caller syncs the folder. The store's finishMu is held. The track's
// mutex is held only where nothing waits for the disk.
func (g *group) finish() error {
	t := g.t
	t.mu.Lock()
	if g.state != finishing || t.groups[g.id] != g {
		t.mu.Unlock()
		return nil
	}
	if err := g.load(); err != nil {
		t.mu.Unlock()
		return err
	}
	g.closeFile()
	messy, part, whole := g.idx.messy, g.path(extPart), g.path(extWhole)
	t.mu.Unlock()

	from := part
	var err error
	var size int64
	if messy {
		from = whole + extTemp
		size, err = g.rewrite(from)
	} else {
		err = syncFile(part)
	}
	if os.IsNotExist(err) {
		t.mu.Lock()
		err = g.vanished(err)
		t.mu.Unlock()
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	if err = g.age(from); err == nil {
		err = os.Rename(from, whole)
	}
	if err == nil {
		g.state = complete
		if messy {
			os.Remove(part)
			g.resize(size)
			g.idx = nil // the offsets are those of the old file
			if i := slices.Index(t.resident, g); i >= 0 {
				t.resident = slices.Delete(t.resident, i, i+1)
			}
		}
	}
	t.mu.Unlock()
	return err
}

// rewrite writes the objects in order to a new file and syncs it.
func (g *group) rewrite(path string) (size int64, err error) {
	r, err := g.t.Open(g.id, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	w := object.NewWriter(f)
	for {
		o, err := r.Next()
		if err == io.EOF {
			err = f.Sync()
			return w.Written(), errors.Join(err, f.Close())
		}
		if err == nil {
			err = w.WriteObject(g.t.name, o)
		}
		if err != nil {
			return 0, errors.Join(err, f.Close(), os.Remove(path))
		}
	}
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// load brings the index into memory.
func (g *group) load() error {
	if g.idx != nil {
		return nil
	}
	f, err := os.Open(g.current())
	if err != nil {
		return g.vanished(err)
	}
	defer f.Close()
	src, done, err := decompress(f, g.zstd)
	if err != nil {
		return err
	}
	defer done()
	x, _, err := scan(src, g.t.name, g.id)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if g.state == complete && (x.messy || !x.whole()) {
		return fmt.Errorf("%s: %w", f.Name(), ErrDamaged)
	}
	g.idx = x
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

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.fail(len(p))
	if n > 0 {
		if n, werr := f.w.Write(p[:n]); werr != nil {
			return n, werr
		}
	}
	return n, err
}
