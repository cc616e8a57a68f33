package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Order is what to check, repair or delete.
type Order struct {
	Name   string `json:"name,omitempty"`   // a track, or a namespace with all below it, in written form; missing: everything
	Repair bool   `json:"repair,omitempty"` // of a check: mend what is damaged
	Holes  bool   `json:"holes,omitempty"`  // of a list: say what is missing, which takes reading the manifests
	From   *Place `json:"from,omitempty"`   // of a check: where the one before stopped

	After string  `json:"after,omitempty"` // of a relisting: where the one before stopped
	Older float64 `json:"older,omitempty"` // of a deletion: only groups that were written longer ago, in seconds
}

// Place is a group of a track.
type Place struct {
	Track string `json:"track"`
	Group uint64 `json:"group"`
}

// Bad is a group that is not as it was stored.
type Bad struct {
	Place
	Why     string `json:"why"`
	Objects int    `json:"objects"` // that are as they were stored
	// Mended says that the group is an unfinished one now, with what is left of it, or none; the file that it was is set aside.
	Mended bool   `json:"mended,omitempty"`
	Error  string `json:"error,omitempty"` // why it could not be mended
}

// Checked is the record of a check. A check of a large store is done in several steps.
type Checked struct {
	V      int   `json:"v"` // 1
	Groups int   `json:"groups"`
	Bytes  int64 `json:"bytes"` // of payloads that are as they were stored
	Bad    []Bad `json:"bad"`
	// Unread groups could not be read, which says nothing about them: the bucket of the cold tier does not answer, or none is configured.
	Unread    int    `json:"unread,omitempty"`
	UnreadWhy string `json:"unread_why,omitempty"` // of one of them
	Next      *Place `json:"next,omitempty"`       // where to go on; missing: all is checked
}

// Add adds the record of the next step.
func (c *Checked) Add(n Checked) {
	c.V, c.Groups, c.Bytes, c.Next = n.V, c.Groups+n.Groups, c.Bytes+n.Bytes, n.Next
	c.Bad = append(c.Bad, n.Bad...)
	if c.Unread += n.Unread; n.Unread > 0 {
		c.UnreadWhy = n.UnreadWhy
	}
}

// Check reads groups and compares them with their hashes, for so long or, if the time is 0, to the end.
func Check(ctx context.Context, st *store.Store, o Order, most time.Duration) (Checked, error) {
	c := Checked{V: 1, Bad: []Bad{}}
	look := tracks
	if o.From != nil { // what the step before saw may be gone
		look = selected
	}
	list, err := look(st, o.Name)
	if err != nil {
		return c, err
	}
	begun := time.Now()
	for _, name := range list {
		written, from := name.String(), uint64(0)
		if o.From != nil && written < o.From.Track {
			continue
		}
		if o.From != nil && written == o.From.Track {
			from = o.From.Group
		}
		t := st.Lookup(name)
		for t != nil && ctx.Err() == nil {
			g, ok := t.Next(from)
			if !ok {
				break
			}
			if most > 0 && c.Groups > 0 && time.Since(begun) > most {
				c.Next = &Place{written, g.Group}
				return c, nil
			}
			c.group(t, g.Group, o.Repair)
			from = g.Group + 1
		}
	}
	return c, ctx.Err()
}

// group checks one group.
func (c *Checked) group(t *store.Track, id uint64, repair bool) {
	objects, bytes, err := t.Verify(id)
	if err != nil && !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) {
		objects, bytes, err = t.Verify(id) // the file may have got another name or been replaced meanwhile, or the error have passed
	}
	if errors.Is(err, store.ErrNotFound) && !t.Has(id) && !isRemoved(err) { // retention was faster
		return
	}
	if i, ok := t.Group(id); ok && i.Tiered && store.MayPass(err) {
		c.Unread, c.UnreadWhy = c.Unread+1, err.Error()
		return
	}
	c.Groups, c.Bytes = c.Groups+1, c.Bytes+bytes
	if err == nil {
		return
	}
	why := strings.TrimPrefix(err.Error(), fmt.Sprintf("group %d of %v: ", id, t.Name()))
	bad := Bad{Place: Place{t.Name().String(), id}, Why: why, Objects: objects}
	if repair && t.Has(id) {
		kept, err := t.Mend(id)
		if err != nil {
			bad.Error = err.Error()
		} else {
			bad.Mended, bad.Objects = true, kept
		}
	}
	c.Bad = append(c.Bad, bad)
}

// isRemoved reports that a group's file was not there, although the store had it.
func isRemoved(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Deleted is the record of a deletion.
type Deleted struct {
	V      int   `json:"v"` // 1
	Tracks int   `json:"tracks"`
	Groups int   `json:"groups"`
	Bytes  int64 `json:"bytes"`
}

// Relisted is the record of a step of a relisting.
type Relisted struct {
	V     int    `json:"v"` // 1
	Keys  int    `json:"keys"`
	Taken int    `json:"taken"`           // groups that the store did not know
	Bytes int64  `json:"bytes"`           // of these
	Other int    `json:"other"`           // objects that are no groups
	After string `json:"after,omitempty"` // where to go on; missing: all is listed
}

// Add adds the record of the next step.
func (r *Relisted) Add(n Relisted) {
	*r = Relisted{n.V, r.Keys + n.Keys, r.Taken + n.Taken, r.Bytes + n.Bytes, r.Other + n.Other, n.After}
}

// relistAtOnce is how many objects of a bucket are listed at a time, as many as S3 names in one answer.
const relistAtOnce = 1000

// Relist takes in the groups that lie in the bucket of the cold tier and of which the store does not know, for so long.
func Relist(ctx context.Context, st *store.Store, o Order, most time.Duration) (Relisted, error) {
	all := Relisted{V: 1, After: o.After}
	for begun := time.Now(); ; {
		r, err := st.Relist(ctx, all.After, relistAtOnce)
		all.Add(Relisted{1, r.Keys, r.Taken, r.Bytes, r.Other, r.After})
		if err != nil || all.After == "" || time.Since(begun) > most {
			return all, err
		}
	}
}

// Delete removes groups of a track or namespace.
func Delete(st *store.Store, o Order) (Deleted, error) {
	d := Deleted{V: 1}
	if o.Name == "" {
		return d, exit.With(exit.Usage, errors.New("nothing is named to be deleted"), "name a track or a namespace")
	}
	list, err := tracks(st, o.Name)
	if err != nil {
		return d, err
	}
	before := time.Now().Add(-time.Duration(o.Older * float64(time.Second)))
	for _, name := range list {
		t := st.Lookup(name)
		if t == nil {
			continue
		}
		groups, bytes, derr := t.Delete(func(i store.Info) bool { return o.Older <= 0 || i.Time.Before(before) })
		err = errors.Join(err, derr)
		if groups > 0 {
			d.Tracks, d.Groups, d.Bytes = d.Tracks+1, d.Groups+groups, d.Bytes+bytes
		}
	}
	return d, err
}

// Track is a track of the store with what is missing of it.
type Track struct {
	Name object.TrackName
	store.Summary
	Holes
}

// List returns the tracks of a store, and with holes those of which manifests tell, in order of their names.
func List(st *store.Store, o Order) (list []Track, err error) {
	sel, err := parse(o.Name)
	if err != nil {
		return nil, err
	}
	var holes map[string]*Holes
	if o.Holes {
		holes = FindHoles(st)
	}
	for _, n := range st.Tracks() {
		t := st.Lookup(n)
		if t == nil || !sel.has(n) {
			continue
		}
		if sum, ok := t.Summary(); ok {
			list = append(list, Track{Name: n, Summary: sum})
		}
	}
	for written, h := range holes {
		n, err := object.ParseTrackName(written)
		if err != nil || !sel.has(n) {
			continue
		}
		i := slices.IndexFunc(list, func(t Track) bool { return t.Name.Equal(n) })
		if i < 0 {
			i, list = len(list), append(list, Track{Name: n})
		}
		list[i].Holes = *h
	}
	if len(list) == 0 && o.Name != "" {
		return nil, nothing(o.Name)
	}
	slices.SortFunc(list, func(a, b Track) int {
		if a.Name.String() < b.Name.String() {
			return -1
		}
		return 1
	})
	return list, nil
}
