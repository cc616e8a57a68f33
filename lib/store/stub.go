package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"every.channel/ec/lib/object"
)

// A stub stands in the store for a group that lies in the tier (docs/format/tier.md).

const (
	stubFormat = "ec tier 1\n"
	// mostStub bounds the bytes of a stub: a million objects.
	mostStub = 40 << 20
)

// stub is what a stub says of a group.
type stub struct {
	size  int64
	mtime int64  // Unix ns
	idx   *index // nil: the objects are not known yet
}

func (s stub) append(b []byte) []byte {
	body := binary.AppendUvarint(nil, uint64(s.size))
	body = binary.AppendVarint(body, s.mtime)
	if s.idx == nil {
		body = binary.AppendUvarint(body, 0)
	} else {
		body = binary.AppendUvarint(body, uint64(len(s.idx.entries)))
		body = binary.AppendUvarint(body, uint64(s.idx.entries[0].off))
		for _, e := range s.idx.entries {
			body = binary.AppendUvarint(body, uint64(e.size))
			body = append(body, byte(e.status))
			body = append(body, e.hash[:]...)
		}
	}
	return appendRecord(append(b, stubFormat...), body)
}

// parseStub reads a stub. Its objects are all of a group, ascending, the end last.
func parseStub(b []byte) (s stub, err error) {
	bad := fmt.Errorf("%w: not a stub of a group in the tier", ErrDamaged)
	b, ok := bytes.CutPrefix(b, []byte(stubFormat))
	if !ok || len(b) < 8 {
		return s, bad
	}
	n, sum := uint64(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	if b = b[8:]; n != uint64(len(b)) || crc32.Checksum(b, castagnoli) != sum {
		return s, bad
	}
	c := cursor{b: b}
	size, mtime, count := c.uvarint(), c.varint(), c.uvarint()
	if c.bad || size > 1<<62 || count > uint64(len(c.b))/34 { // an object takes 34 bytes at least
		return s, bad
	}
	s.size, s.mtime = int64(size), mtime
	if count == 0 {
		if len(c.b) != 0 {
			return s, bad
		}
		return s, nil
	}
	off := c.uvarint()
	x := &index{entries: make([]entry, count)}
	for i := range x.entries {
		e := entry{id: uint64(i), off: int64(off)}
		length := c.uvarint()
		if c.bad || len(c.b) < 1+len(e.hash) || length > size || off > size-length {
			return s, bad
		}
		e.size, e.status = int64(length), object.Status(c.b[0])
		copy(e.hash[:], c.b[1:])
		c.b = c.b[1+len(e.hash):]
		off += length
		x.entries[i] = e
		if e.status != object.Normal {
			if uint64(i) != count-1 {
				return s, bad
			}
			x.hasEnd, x.end = true, e.id
		}
	}
	if !x.whole() || len(c.b) != 0 {
		return s, bad
	}
	s.idx = x
	return s, nil
}

// readStub reads a stub's file.
func (s *Store) readStub(path string) (stub, error) {
	f, err := s.pool.openFile(path, os.O_RDONLY)
	if err != nil {
		return stub{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostStub+1))
	if err != nil {
		return stub{}, err
	}
	st, err := parseStub(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return st, err
}

// writeStub writes a stub of the group to a file of its own, which keepStub gives its name, and syncs it. No lock is needed.
func (g *group) writeStub(st stub) (temp string, err error) {
	temp = fmt.Sprintf("%s.%d%s", g.path(extTier), g.t.s.stubs.Add(1), extTemp)
	f, err := g.t.s.pool.openFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return "", err
	}
	_, err = g.t.s.writer(f).Write(st.append(nil))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temp))
	}
	return temp, nil
}

// keepStub gives a stub its name.
func (g *group) keepStub(temp string) error {
	err := os.Rename(temp, g.path(extTier))
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// loadStub is load for a group in the tier.
func (g *group) loadStub() error {
	if g.bad {
		return fmt.Errorf("%s: %w", g.key(), ErrDamaged) // it was when it was last read
	}
	st, err := g.t.s.readStub(g.path(extTier))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return g.vanished(err)
	case err != nil:
		return g.unreadable(err)
	case st.idx == nil:
		return fmt.Errorf("%w: group %d of %v was not read yet", errTier, g.id, g.t.name)
	}
	g.idx = st.idx
	return nil
}

// doom lets go of a group in the tier: from now on it is not there, and its object is deleted from the bucket soon, also after a restart. The
// track's mutex is held.
func (g *group) doom() error {
	gone := g.path(extGone)
	if err := os.Rename(g.path(extTier), gone); err != nil {
		return err
	}
	g.t.s.addDoomed(g.key(), gone)
	return nil
}

// addDoomed notes that an object is to be deleted from the bucket, and a file of the store after that.
func (s *Store) addDoomed(key, gone string) {
	s.doomedMu.Lock()
	defer s.doomedMu.Unlock()
	s.doomed[key] = gone
}
