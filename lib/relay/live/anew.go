package live

import (
	"errors"
	"slices"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// A publisher of another make may restart and count its groups from 0 again. What the track had then has the names of what is to come, so
// the track begins anew: all that is kept is forgotten, and those who followed the track are told that it has ended. The objects of our own
// publishers carry hashes, and their names belong to one content for ever: with them another content is a lie or damage, and is refused.

// ErrAnew says that the track has begun anew, so that no more of what was being read will come.
var ErrAnew = errors.New("the track has begun anew")

// mayBegin reports whether an object that contradicts what is kept begins the track anew, unless what is kept has hashes: its source is the
// only one, and nothing that it brought was taken. The track's mutex is held.
func (t *Track) mayBegin(f *Feed) bool {
	_, attached := t.sources[f.src]
	return attached && len(t.sources) == 1 && t.judged != f.src && !f.hasHash && f.src.Origin == store.Live && f.src.Objects.Load() == 0
}

// beginAnew forgets all that is kept of the track, and ends its followers, if the object of a feed may begin the track anew.
func (t *Track) beginAnew(f *Feed) {
	t.beginning.Lock()
	defer t.beginning.Unlock()
	t.mu.Lock()
	may := t.mayBegin(f)
	if may {
		t.judged = f.src
	}
	t.mu.Unlock()
	if !may || t.isHashed(f.o.Group) {
		return
	}
	t.mu.Lock()
	t.incarnation++ // before there is anything of the new incarnation, so that nobody takes that for the old one's
	t.mu.Unlock()
	if err := t.files.Clear(); err != nil {
		t.m.c.Logger.Error("a track begins anew, and something of before is still stored", "track", t.name.String(), "err", err)
	}
	t.m.c.Logger.Warn("a track begins anew, what was kept is removed: its publisher sends other objects under the same ids",
		"track", t.name.String(), "source", f.src.Name)
	t.forget()
}

// isHashed reports whether what is kept of a group carries hashes.
func (t *Track) isHashed(group uint64) bool {
	g, _ := t.bring(group)
	defer t.mu.Unlock()
	return slices.ContainsFunc(g.objs, func(o *Object) bool {
		p, err := object.ParseProperties(o.Properties)
		return err == nil && p.HasHash
	})
}

// forget empties the memory and ends the followers.
func (t *Track) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for g := t.loading(); g != nil; g = t.loading() {
		loaded := g.loading
		t.mu.Unlock()
		<-loaded
		t.mu.Lock()
	}
	for _, g := range t.groups {
		t.drop(g)
	}
	t.largest, t.remote, t.ends, t.births = nil, nil, false, nil
	for src := range t.sources {
		src.progress, t.props = progress{}, src.props
	}
	t.wake()
}

// loading returns a group that is being loaded.
func (t *Track) loading() *group {
	for _, g := range t.groups {
		if g.loading != nil {
			return g
		}
	}
	return nil
}
