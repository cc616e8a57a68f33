package archive

import (
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// MostHoles bounds the groups that a record names of a track.
const MostHoles = 1000

// Holes are what a store lacks of a track.
type Holes struct {
	// Missing are groups of which a manifest in the store says that they went out, and of which nothing is stored.
	Missing []uint64
	// Incomplete are stored groups of which something is missing. The newest group is none of them: it may be on its way.
	Incomplete []uint64
}

// FindHoles finds what is missing in the store. What retention may have removed is not missing.
func FindHoles(st *store.Store) map[string]*Holes {
	all := make(map[string]*Holes)
	of := func(track string) *Holes {
		h := all[track]
		if h == nil {
			h = &Holes{}
			all[track] = h
		}
		return h
	}
	mayBeGone := st.MayBeGone()
	for _, name := range st.Tracks() {
		t := st.Lookup(name)
		if t == nil {
			continue
		}
		groups := t.Groups(0, object.MaxVarint)
		for i, g := range groups {
			if !g.Complete && i < len(groups)-1 {
				h := of(name.String())
				h.Incomplete = append(h.Incomplete, g.Group)
			}
		}
		if name.Name == catalog.TrackManifest {
			for _, p := range promises(st, t, mayBeGone) {
				h := of(p.track.String())
				h.Missing = append(h.Missing, p.group)
			}
		}
	}
	for _, h := range all {
		slices.Sort(h.Missing)
		h.Missing = slices.Compact(h.Missing) // several receivers may tell of one group
	}
	return all
}

// promise is a group that a manifest tells of.
type promise struct {
	track object.TrackName
	group uint64
}

// promises returns the groups that a manifest tells of and that are not stored. Of several entries about one chunk the last one counts.
func promises(st *store.Store, manifest *store.Track, mayBeGone func(object.TrackName, uint64, time.Time) bool) (list []promise) {
	last := make(map[uint64]catalog.ManifestEntry)
	at := make(map[uint64]time.Time)
	for _, g := range manifest.Groups(0, object.MaxVarint) {
		each(manifest, g.Group, func(payload []byte) {
			if e, err := catalog.ParseManifestEntry(payload); err == nil {
				last[e.Group], at[e.Group] = *e, g.Time
			}
		})
	}
	for id, e := range last {
		if t := st.Lookup(e.Track); t != nil && t.Has(id) || mayBeGone(e.Track, id, at[id]) {
			continue
		}
		list = append(list, promise{e.Track, id})
	}
	return list
}

// each hands the payloads of a group to f, as far as they can be read.
func each(t *store.Track, group uint64, f func(payload []byte)) {
	r, err := t.Open(group, 0)
	if err != nil {
		return
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err != nil { // the end, or damage, which the store notes
			return
		}
		if o.Status == object.Normal {
			f(o.Payload)
		}
	}
}
