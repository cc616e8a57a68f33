package relay

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// listing is what a keeper said that it has of a track, and this relay lacks, in the groups from…to, inclusive. Many viewers may ask for
// the same: they wait for one answer at the same time, and may leave meanwhile. Relay.mu guards it until done is closed; then it does not
// change any more.
type listing struct {
	from, to uint64
	done     chan struct{}
	groups   []mesh.Group
	cut      bool // there may be more behind these
	err      error
}

const (
	// listingAge is how long an answer, or that there was none, is used for further requests.
	listingAge = time.Second
	// listingWait is how long a viewer waits for the lists of publishers. Long lists may take longer.
	listingWait = answerPatience + time.Second
	// maxFill bounds the groups that one FETCH may get from a publisher, whose uplink is narrow.
	maxFill = 1024
	// maxLacking bounds the groups of a keeper that are looked at to be mended. It is more than package mesh remembers of a track.
	maxLacking = 1 << 15
)

// covers reports whether a listing answers for a range.
func (l *listing) covers(from, to uint64) bool {
	return l.from <= from && to <= l.to && (!l.cut || l.from == from || to <= l.groups[len(l.groups)-1].ID)
}

// groups returns what a keeper has of a track, and this relay lacks, in the groups from…to; of many, the oldest. The answer may be as old
// as listingAge.
func (k *keeper) groups(ctx context.Context, name object.TrackName, from, to uint64) ([]mesh.Group, error) {
	if !k.may(name) {
		return nil, errStallsUpstream
	}
	r, key := k.s.r, name.String()
	r.mu.Lock()
	if k.mute || k.u.rests(time.Now()) {
		r.mu.Unlock()
		return nil, errStallsUpstream
	}
	l, mine := k.lists[key], &listing{from: from, to: to, done: make(chan struct{})}
	switch {
	case l == nil || !l.pending() && (l.err == nil && !l.covers(from, to)):
		k.lists[key] = mine
		r.mu.Unlock()
		if l = mine; !k.s.background(func() { k.list(k.s.s.Context(), name, mine) }) {
			k.listed(name, mine, nil, moqt.ErrClosed)
		}
	case l.pending() && !l.covers(from, to):
		r.mu.Unlock()
		l = mine
		k.list(ctx, name, mine)
	default:
		r.mu.Unlock()
	}
	select {
	case <-l.done:
		return l.groups, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *listing) pending() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// list asks a keeper for a listing.
func (k *keeper) list(ctx context.Context, name object.TrackName, l *listing) {
	var list []mesh.Group
	m := mender{library{k.s.r}}
	err := k.u.eachGroup(ctx, k.s, name, l.from, l.to, nil, func(g mesh.Group) bool {
		if g.ID <= l.to && m.Lacks(name, g) {
			list = append(list, g)
		}
		return g.ID <= l.to && len(list) < maxFill
	})
	if k.answered(err); err != nil {
		list = nil
	}
	k.listed(name, l, list, err)
}

// listed notes the answer, and forgets it after listingAge.
func (k *keeper) listed(name object.TrackName, l *listing, list []mesh.Group, err error) {
	r := k.s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	l.groups, l.cut, l.err = list, len(list) == maxFill, err
	close(l.done)
	time.AfterFunc(listingAge, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if key := name.String(); k.lists[key] == l {
			delete(k.lists, key)
		}
	})
}

// lacking returns the newest groups that a keeper has and this relay lacks, from a group on.
func (k *keeper) lacking(ctx context.Context, name object.TrackName, from uint64, lacks func(mesh.Group) bool) ([]mesh.Group, error) {
	over, ok := k.slot(ctx)
	if !ok {
		return nil, context.Cause(ctx)
	}
	defer over()
	if k.rests() || !k.may(name) {
		return nil, errStallsUpstream
	}
	n := newest{most: maxLacking}
	err := k.u.eachGroup(ctx, k.s, name, from, object.MaxVarint, nil, func(g mesh.Group) bool {
		if lacks(g) {
			n.add(g)
		}
		return true
	})
	if k.answered(err); err != nil {
		return nil, err
	}
	return n.groups(), nil
}

// answered notes that a keeper lists nothing, if it says so.
func (k *keeper) answered(err error) {
	if refused := (*moqt.RequestError)(nil); errors.As(err, &refused) && refused.Code == wire.RequestNotSupported {
		k.s.r.mu.Lock()
		k.mute = true
		k.s.r.mu.Unlock()
	}
}
