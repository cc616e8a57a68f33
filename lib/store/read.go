package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"every.channel/ec/lib/object"

	"github.com/klauspost/compress/zstd"
)

// Reader reads the objects of one group in ascending order of id, one at a time.
type Reader struct {
	info    Info
	name    object.TrackName
	g       *group
	f       *pooled
	release func()
	r       *object.Reader
	from    uint64

	// A partial group is read through a snapshot of its index, a complete one from end to end.
	snapshot bool
	entries  []entry
	prefix   []byte

	next  uint64 // id expected next in a complete group
	ended bool   // the end of the group was read
	err   error
}

// Open opens a group for reading, from object id from on. Of a group that is still being written the Reader returns the objects
// that are there now.
func (t *Track) Open(group, from uint64) (r *Reader, err error) {
	err = t.s.pool.withFiles(func() (err error) { r, err = t.open(group, from); return err })
	if err != nil {
		return nil, fmt.Errorf("group %d of %v: %w", group, t.name, err)
	}
	return r, nil
}

func (t *Track) open(group, from uint64) (*Reader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		return nil, ErrNotFound
	}
	if g.tiered {
		return t.openCold(g, from)
	}
	r := &Reader{g: g, info: g.info(), name: t.name, from: from, r: object.NewReader(nil)}
	paths := []string{g.current()}
	if g.state != complete {
		if err := g.load(); err != nil {
			return nil, err
		}
		t.touch(g)
		i, _ := g.idx.find(from)
		r.snapshot, r.entries = true, slices.Clone(g.idx.entries[i:])
		var b bytes.Buffer
		if err := object.NewWriter(&b).WriteTrack(t.name, nil); err != nil {
			return nil, err
		}
		r.prefix = b.Bytes()
		paths = append(paths, g.path(extWhole)) // its name soon
	}
	f, err := newPooled(t.s.pool, paths...)
	if err != nil {
		return nil, g.unreadable(g.vanished(err))
	}
	src, release, err := decompress(f, g.zstd)
	if err != nil {
		return nil, errors.Join(g.unreadable(err), f.Close())
	}
	r.f, r.release = f, release
	r.r.Reset(src)
	return r, nil
}

// Info describes the group as it was when it was opened.
func (r *Reader) Info() Info { return r.info }

// Next returns the next object, io.EOF after the last. The object is valid until the next call. An error
// that is ErrDamaged means that the rest of the group is not what was stored.
func (r *Reader) Next() (*object.Object, error) {
	if r.err != nil {
		return nil, r.err
	}
	var o *object.Object
	if r.snapshot {
		o, r.err = r.nextEntry()
	} else {
		o, r.err = r.nextRecord()
	}
	if r.err == nil {
		if r.err = r.mayHandOut(o); r.err != nil {
			return nil, r.err
		}
	}
	if r.err == io.EOF && !r.snapshot {
		r.g.cameToEnd(nil)
	}
	if r.err != nil && r.err != io.EOF {
		r.g.cameToEnd(r.err)
		r.err = fmt.Errorf("group %d of %v: %w", r.info.Group, r.name, r.err)
	}
	return o, r.err
}

func (r *Reader) nextEntry() (*object.Object, error) {
	if len(r.entries) == 0 {
		return nil, io.EOF
	}
	e := r.entries[0]
	r.entries = r.entries[1:]
	r.r.Reset(io.MultiReader(bytes.NewReader(r.prefix), io.NewSectionReader(r.f, e.off, e.size)))
	o, err := r.object()
	if err == io.EOF || err == nil && o.ID != e.id {
		err = ErrDamaged
	}
	return o, err
}

func (r *Reader) nextRecord() (*object.Object, error) {
	for {
		o, err := r.object()
		if err == io.EOF && !r.ended {
			err = ErrDamaged
		}
		if err != nil {
			return nil, err
		}
		r.ended = o.Status != object.Normal
		if o.ID != r.next {
			return nil, fmt.Errorf("%w: object %d follows %d", ErrDamaged, o.ID, r.next)
		}
		r.next++
		if o.ID >= r.from {
			return o, nil
		}
	}
}

// object returns the next object in the file.
func (r *Reader) object() (*object.Object, error) {
	for {
		rec, err := r.r.Next()
		var corrupt *object.CorruptError
		switch {
		case errors.As(err, &corrupt), errors.Is(err, object.ErrTruncated), errors.Is(err, object.ErrMagic), errors.Is(err, object.ErrVersion):
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil && err != io.EOF && !errors.As(err, new(*fs.PathError)) && !errors.Is(err, errReplaced) && !errors.Is(err, errTier): // damage to what was compressed
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return nil, err
		case !rec.Track.Name.Equal(r.name):
			return nil, fmt.Errorf("%w: holds %v", ErrDamaged, rec.Track.Name)
		case rec.IsTrack:
			continue
		case rec.Object.Group != r.info.Group:
			return nil, fmt.Errorf("%w: holds group %d", ErrDamaged, rec.Object.Group)
		}
		return &rec.Object, nil
	}
}

// Close closes the file.
func (r *Reader) Close() error {
	r.release()
	return r.f.Close()
}

// cameToEnd notes whether the group's file, as it is now, could be read to its end.
func (g *group) cameToEnd(err error) {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	switch {
	case g.t.groups[g.id] != g, errors.Is(err, errTier):
	case err == nil:
		g.readable()
	case !errors.Is(err, errReplaced):
		g.unreadable(err)
	}
}

// decompress returns the object stream in f. What it returns must be released before f is closed.
func decompress(f io.Reader, compressed bool) (io.Reader, func(), error) {
	if !compressed {
		return f, func() {}, nil
	}
	d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, nil, err
	}
	return d, d.Close, nil
}
