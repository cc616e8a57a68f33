package store

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The store's index (docs/format/store.md) says which group files lie in which folder, so that a store of many groups opens without looking at
// every file. It is a hint: what it says of a folder counts only while the folder is, by its inode and the time of its last change, the one that was
// looked at, and of the files' bytes it says nothing. A folder that differs, or that the index does not have, is listed. Where a file system's
// folders do not tell of each change, there is no index.

const (
	indexFile   = "store.index"
	indexFormat = "ec index 1\n"
	// leastIndexed is how many groups a store has that needs an index.
	leastIndexed = 1000
	// mostIndex bounds the bytes of an index that is read: 64 million groups.
	mostIndex = 1 << 30
	// settled is how long a folder must not have changed to be indexed. Another change within one tick of the file system's clock would leave
	// its time as it is.
	settled = 3 * time.Second
)

// Kinds of group files in the index.
const (
	kindPart uint64 = iota
	kindWhole
	kindZstd
	kindTier
	kinds
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp tells whether files came into a folder or left it.
type stamp struct {
	inode  uint64
	change int64 // Unix ns
}

// stampOf returns the stamp of a folder; false: it is none that can be looked at, or it lies on another file system than the folder of all groups.
func (s *Store) stampOf(dir string) (stamp, bool) {
	st, err := os.Lstat(dir)
	if err != nil || !st.IsDir() || device(st) != s.device {
		return stamp{}, false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{sys.Ino, sys.Ctim.Nano()}, true
}

// zfs is how OpenZFS names itself to statfs.
const zfs = 0x2fc12fc1

// tellsChanges reports whether each change in a folder of a file system, which statfs names so, shows in the folder's time of change. Elsewhere the
// time may be another folder's: mergerfs shows several folders as one, which has the time of the first of them. Over a network it may be an old one.
func tellsChanges(fsType uint32) bool {
	switch fsType {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.BCACHEFS_SUPER_MAGIC, zfs,
		unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}

// fsTypeOf is how the file system of a folder names itself to statfs; 0: that cannot be told.
func fsTypeOf(dir string) uint32 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return uint32(st.Type)
}

// filed is what the index says of a group file.
type filed struct {
	id    uint64
	kind  uint64
	size  int64
	mtime int64
}

func (g *group) filed() filed {
	f := filed{g.id, kindPart, g.size, g.mtime}
	switch {
	case g.tiered:
		f.kind = kindTier
	case g.state == complete && g.zstd:
		f.kind = kindZstd
	case g.state == complete:
		f.kind = kindWhole
	}
	return f
}

// fileName is the name of a group's file in its folder.
func fileName(f filed) string {
	return strconv.FormatUint(f.id, 10) + [kinds]string{extPart, extWhole, extZstd, extTier}[f.kind]
}

// appendFolder appends the record of a folder. The path is relative to that of the groups.
func appendFolder(b []byte, path string, at stamp, files []filed) []byte {
	body := binary.AppendUvarint(make([]byte, 0, len(path)+16*len(files)+32), uint64(len(path)))
	body = append(body, path...)
	body = binary.AppendUvarint(body, at.inode)
	body = binary.AppendVarint(body, at.change)
	body = binary.AppendUvarint(body, uint64(len(files)))
	last := filed{}
	for _, f := range files {
		body = binary.AppendUvarint(body, (f.id-last.id)<<2|f.kind) // ids are below 2^62
		body = binary.AppendUvarint(body, uint64(f.size))
		body = binary.AppendVarint(body, f.mtime-last.mtime)
		last = f
	}
	return appendRecord(b, body)
}

// appendRecord appends the length of a record, the CRC-32C of it, and itself.
func appendRecord(b, body []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// cursor reads the numbers of a record.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 { return number(c, binary.Uvarint) }
func (c *cursor) varint() int64   { return number(c, binary.Varint) }

// number takes a number off the front; 0, and the record is bad, if there is none.
func number[T uint64 | int64](c *cursor, read func([]byte) (T, int)) T {
	v, n := read(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) text() string {
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return ""
	}
	s := string(c.b[:n])
	c.b = c.b[n:]
	return s
}

// folderRecord is the record of a folder whose files are not decoded yet.
type folderRecord struct {
	at    stamp
	count uint64
	files []byte
}

// parseIndex returns the records by the paths of their folders, as far as they are whole. Of two with one path the last one counts.
func parseIndex(b []byte) map[string]folderRecord {
	all := make(map[string]folderRecord)
	b, ok := bytes.CutPrefix(b, []byte(indexFormat))
	for ok && len(b) >= 8 {
		n, sum := uint64(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
		if b = b[8:]; n > uint64(len(b)) || crc32.Checksum(b[:n], castagnoli) != sum {
			break
		}
		c := cursor{b: b[:n]}
		b = b[n:]
		path := c.text()
		r := folderRecord{at: stamp{c.uvarint(), c.varint()}, count: c.uvarint()}
		if r.files = c.b; !c.bad {
			all[path] = r
		}
	}
	return all
}

// decode returns the files of a record, ascending; false: it is not what was written.
func (r folderRecord) decode() ([]filed, bool) {
	if r.count == 0 || r.count > uint64(len(r.files))/3 { // a file takes three bytes at least
		return nil, false
	}
	c := cursor{b: r.files}
	list := make([]filed, r.count)
	last := filed{}
	for i := range list {
		word := c.uvarint()
		f := filed{id: last.id + word>>2, kind: word & 3, size: int64(c.uvarint()), mtime: last.mtime + c.varint()}
		if c.bad || f.kind >= kinds || f.size < 0 || i > 0 && f.id <= last.id || f.id >= 1<<62 {
			return nil, false
		}
		list[i], last = f, f
	}
	return list, len(c.b) == 0
}

// readIndex reads the index; nil: there is none that can be used.
func readIndex(dir string) map[string]folderRecord {
	path := filepath.Join(dir, indexFile)
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || st.Size() > mostIndex {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return parseIndex(b)
}
