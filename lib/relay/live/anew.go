package live

import (
	"errors"
	"io"
	"slices"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// A publisher of another make may restart and count its groups from 0 again. What the track had then has the names of what is to come, so
// the track begins anew: all that is kept is forgotten, and those who followed the track are told that it has ended. The objects of our own
// publishers carry hashes, and their names belong to one content for ever: with them another content is a lie or damage, and is refused.

// ErrAnew says that the track has begun anew, so that no more of what was being read will come.
var ErrAnew = errors.New("the track has begun anew")

// mayBegin reports whether an object that contradicts what is kept begins the track anew, unless something that was stored before the
// relay started has a hash: its source is the only one, and nobody brought anything new since the source came. An end has no hash with any
// publisher, so it begins nothing. The track's mutex is held.
func (t *Track) mayBegin(f *Feed) bool {
	_, attached := t.sources[f.src]
	return attached && len(t.sources) == 1 && !f.src.judged && f.src.came == t.came && f.src.Origin == store.Live &&
		!f.hasHash && !t.hashes && f.o.Status == object.Normal
}

// beginAnew forgets all that is kept of the track, and ends its followers, if the object of a feed may begin the track anew.
func (t *Track) beginAnew(f *Feed) {
	t.beginning.Lock()
	defer t.beginning.Unlock()
	t.mu.Lock()
	may := t.mayBegin(f)
	f.src.judged = f.src.judged || may
	t.mu.Unlock()
	if !may {
		return
	}
	if t.hasHashes(f.o.Group) {
		t.mu.Lock()
		t.hashes = true
		t.mu.Unlock()
		return
	}
	t.mu.Lock()
	t.renew() // before there is anything of the new incarnation, so that nobody takes that for the old one's
	t.mu.Unlock()
	if err := t.files.Clear(); err != nil {
		t.m.c.Logger.Error("a track begins anew, and something of before is still stored", "track", t.name.String(), "err", err)
	}
	t.m.c.Logger.Warn("a track begins anew, what was kept is removed: its publisher sends other objects under the same ids",
		"track", t.name.String(), "source", f.src.Name)
	t.forget()
}

// renew ends whatever looked at the track before. The track's mutex is held.
func (t *Track) renew() {
	t.seq++
	t.incarnation = t.seq
}

// outdated reports whether what a source brings is of before the track began anew.
func (t *Track) outdated(src *Source) bool {
	if !src.Fetched {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.incarnation > src.Since
}

// hasHashes reports whether anything that is stored carries a hash, or cannot be read. It looks at all objects of one group, and at the
// first one of every other group.
func (t *Track) hasHashes(group uint64) bool {
	return slices.ContainsFunc(t.files.Groups(0, object.MaxVarint), func(i store.Info) bool { return t.hasHash(i.Group, i.Group == group) })
}

// hasHash reports whether an object of a stored group carries a hash: of all, or up to the first one that is no end. What cannot be read may.
func (t *Track) hasHash(group uint64, all bool) bool {
	r, err := t.files.Open(group, 0)
	if errors.Is(err, store.ErrNotFound) {
		return false
	}
	if err != nil {
		return true
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err != nil {
			return err != io.EOF
		}
		p, err := object.ParseProperties(o.Properties)
		if err != nil || p.HasHash {
			return true
		}
		if !all && o.Status == object.Normal {
			return false
		}
	}
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
	t.renew() // whoever came since the files went has seen something of before
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
