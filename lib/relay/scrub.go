package relay

import (
	"context"
	"time"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// ScrubFile in the store's folder says how far the scrub is (docs/format/store.md).
const ScrubFile = "scrub.json"

// healPatience is how long the scrub waits for those who may have a group.
const healPatience = time.Minute

// newScrub returns the scrub of a relay; nil: none.
func newScrub(r *Relay) *archive.Scrub {
	if r.c.ScrubRate <= 0 {
		return nil
	}
	return &archive.Scrub{Store: r.store, Rate: r.c.ScrubRate, File: r.c.ScrubFile, Heal: r.heal, Logger: r.log}
}

// heal fetches what is missing of a group from publishers, upstreams and peers, behind everything that is live, and reports whether the group is
// whole then.
func (r *Relay) heal(ctx context.Context, name object.TrackName, group uint64, pace func(context.Context, int) error) bool {
	whole := func() bool {
		st := r.store.Lookup(name)
		if st == nil {
			return false
		}
		i, ok := st.Group(group)
		return ok && i.Complete
	}
	claimed, over := r.mending.claim(name.String(), []mesh.Group{{ID: group, Whole: true}})
	defer over()
	if whole() || len(claimed) == 0 || r.roomFor(name, group) != nil {
		return whole()
	}
	ctx, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	t, s := r.track(name), span{startOf(group), startOf(group + 1)}
	f := filling{serve: func(moqt.Location) error { return nil }, pace: pace, enough: whole, mends: true}
	t.answers.drop(s) // they were about a group that was not missing then
	t.doubts.drop(s)
	err := r.fromPublishers(ctx, t, s, f)
	if err == nil && !whole() {
		t.doubts.drop(s)
		err = r.fillWith(ctx, t, s, f)
	}
	r.notKept(t, err)
	return whole()
}

// scrubbed is how far the scrub is; nil: there is none.
func (r *Relay) scrubbed() *archive.Scrubbed {
	if r.scrub == nil {
		return nil
	}
	p := r.scrub.Progress()
	return &p
}
