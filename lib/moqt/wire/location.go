package wire

import (
	"cmp"
	"fmt"
)

// Location names an object within a track (§1.4.1).
type Location struct {
	Group  uint64
	Object uint64
}

// Compare orders locations by group, then object.
func (l Location) Compare(o Location) int {
	return cmp.Or(cmp.Compare(l.Group, o.Group), cmp.Compare(l.Object, o.Object))
}

// Less reports whether l comes before o.
func (l Location) Less(o Location) bool { return l.Compare(o) < 0 }

// String writes a location as group/object.
func (l Location) String() string { return fmt.Sprintf("%d/%d", l.Group, l.Object) }

func (w *writer) location(l Location) {
	w.varint(l.Group)
	w.varint(l.Object)
}

func (r *reader) location(what string) (l Location) {
	l.Group = r.varint(what + " group")
	l.Object = r.varint(what + " object")
	return l
}
