package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"every.channel/ec/lib/object"
)

// The layout, docs/format/store.md.
const (
	groupsDir = "groups"
	lockFile  = "store.lock"
	format    = "ec store 1\n"

	extWhole = ".eco"
	extPart  = ".eco.part"
	extZstd  = ".eco.zst"
	extTier  = ".eco.tier" // the group lies in the tier
	extGone  = ".eco.gone" // the group lay in the tier, and is to be deleted there
	extTemp  = ".tmp"

	nameFile  = "name" // the written form, in folders whose name is a hash of it
	maxFolder = 200    // longest written form used as a folder name; file systems allow 255 bytes
	perFolder = 1000   // groups
)

// folder returns a written form as a folder name: itself, "-" for the empty one, or "-" and its hash
// where it is too long. Written forms of fields and names never start with "-".
func folder(written string) string {
	switch {
	case written == "":
		return "-"
	case len(written) > maxFolder:
		return "-" + object.Sum([]byte(written)).String()
	}
	return written
}

// writtenOf is the reverse of folder.
func writtenOf(parent, name string) (string, error) {
	if name == "-" {
		return "", nil
	}
	if !strings.HasPrefix(name, "-") {
		return name, nil
	}
	b, err := os.ReadFile(filepath.Join(parent, name, nameFile))
	if err == nil && folder(string(b)) != name {
		err = fmt.Errorf("%s: not the name of folder %s", nameFile, name)
	}
	return string(b), err
}

// shard returns the folder of a group. Large ids have a tag in their low 16 bits (docs/format/names.md), which is left out,
// because otherwise a folder for a thousand ids would hold one group.
func shard(group uint64) string { return strconv.FormatUint(shardNumber(group), 10) }

func shardNumber(group uint64) uint64 {
	if group >= 1<<32 {
		group >>= 16
	}
	return group / perFolder
}

// groupFile reads the name of a file in a shard folder.
func groupFile(name string) (group uint64, ext string, ok bool) {
	num, ext, ok := strings.Cut(name, ".")
	if !ok {
		return 0, "", false
	}
	ext = "." + ext
	group, err := strconv.ParseUint(num, 10, 62)
	if err != nil || strconv.FormatUint(group, 10) != num {
		return 0, "", false
	}
	return group, ext, ext == extWhole || ext == extPart || ext == extZstd || ext == extTier || ext == extGone
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
