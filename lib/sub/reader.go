package sub

import (
	"context"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

const (
	// tolerance is how far the end of a part and the begin of the next may differ by their timestamps and still be adjacent:
	// frames are reordered, and no chunk is that short.
	tolerance = clock.Hz / 2
	// grace is how long missing objects may be on their way on a stream of their own before they are fetched.
	grace = 50 * time.Millisecond
)

// reader writes an epoch's objects in order. Missing objects are waited for, then fetched, and then reported and left out. One
// goroutine owns it.
type reader struct {
	e     *epoch
	c     Config
	out   *output
	meter *meter // the pull's

	// About the objects written from this track:
	wrote    bool      // anything
	group    uint64    // of the last object
	expected clock.PTS // the timestamp of the next object if it follows without a gap
	hasNext  bool      // expected is known
	brokeOff bool      // objects of the group in progress are missing
	open     bool      // the group of the last object has not ended
	first    uint64    // the group of the first object
	enough   bool      // Config.Duration has come

	// About what is missing for good:
	gaps   []gap
	torn   []torn
	stride int64 // the most buckets from one group to the next with nothing missing between them (ids.bucket)

	// About the objects that are missing before a newer one:
	stuck time.Time // since when none of them came; zero: nothing is missing
	tried time.Time // when they were last fetched; zero: not yet
}

// step says what to do after a look: stop reading (done), look again at once (wait 0), or look again when something came, and at
// the latest after wait.
type step struct {
	done bool
	wait time.Duration
}

var (
	finished  = step{done: true}
	lookAgain = step{}
	whenever  = step{wait: time.Hour} // look again when something comes
)

// run writes the objects that are due until enough was written.
func (r *reader) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s, err := r.next(ctx, r.e.asm.look())
		if err != nil {
			return err
		}
		if s.done {
			r.edges()
			return nil
		}
		if s == lookAgain {
			continue
		}
		timer.Reset(s.wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.e.asm.wake:
		case <-timer.C:
		}
	}
}

// next does what a look into the assembler calls for.
func (r *reader) next(ctx context.Context, v view) (step, error) {
	switch {
	case v.object != nil:
		r.unstick()
		return r.due(v.object)
	case v.groupEnd:
		r.unstick()
		return lookAgain, r.endGroup(v.end)
	case v.started && (!v.next.Less(r.e.to) || r.atEnd(v)), v.ended && r.c.ExitAtEnd:
		return finished, nil
	}
	s, err := whenever, error(nil)
	switch {
	case v.newer != nil && !v.fetched && !r.e.fed(): // no feeder is at work that could bring the missing objects
		r.unstick()
	case v.newer != nil:
		s, err = r.hole(ctx, v)
	case v.back != nil && !v.over:
		s, err = r.behind(ctx, v)
	case !v.limit.Less(r.e.to), v.over: // no more objects exist, or none will come
		return finished, nil
	}
	if err != nil || s == lookAgain {
		return s, err
	}
	return r.patient(v, s), nil
}

// due writes the due object, unless it lies behind the end.
func (r *reader) due(o *object.Object) (step, error) {
	if at := (moqt.Location{Group: o.Group, Object: o.ID}); !at.Less(r.e.to) {
		return finished, nil
	}
	done, err := r.write(o)
	r.enough = done
	return step{done: done}, err
}

// patient bounds a wait: by Config.Idle, which ends reading when feeders are at work and nothing came for so long, and, near the
// end, so that atEnd looks again.
func (r *reader) patient(v view, s step) step {
	if r.c.Idle > 0 && v.newer == nil && r.e.fed() {
		rest := r.c.Idle - r.e.asm.idle()
		if rest <= 0 {
			return finished
		}
		return step{wait: min(s.wait, rest)}
	}
	if s == whenever && r.e.to != noEnd && r.e.someExhausted() {
		return step{wait: r.c.Reorder}
	}
	return s
}

// atEnd reports whether no chunk is left before the end. Group ids skip, so that is so if no bucket has ids in between, or if a relay
// that has the end brought all objects before it, and nothing came since.
func (r *reader) atEnd(v view) bool {
	to := r.e.to
	if r.e.ids != tagged || to == noEnd || to.Object > 0 || v.next.Object > 0 || v.newer != nil || !r.wrote {
		return false
	}
	return r.e.ids.bucket(to.Group-1) <= r.e.ids.bucket(r.group) || r.e.someExhausted() && r.e.asm.idle() >= r.c.Reorder
}

// missingFor returns how long nothing came of the missing objects, counted from the first look that missed them.
func (r *reader) missingFor(v view, now time.Time) time.Duration {
	if r.stuck.IsZero() || v.alive && v.touched.After(r.stuck) {
		r.stuck = now
	}
	return now.Sub(r.stuck)
}

// unstick forgets the missing objects, because they came or are not waited for any more.
func (r *reader) unstick() { r.stuck, r.tried = time.Time{}, time.Time{} }

// behind decides about groups below the due one when there is none above. If the broadcast's clock was set back, these groups are
// what the broadcast now sends: the rest of the group in progress is fetched once, and reading goes on with them. Otherwise they
// are only late, and the due group comes within backPatience.
func (r *reader) behind(ctx context.Context, v view) (step, error) {
	now := time.Now()
	since, patience := r.missingFor(v, now), r.backPatience(v)
	if since >= patience {
		r.unstick()
		return lookAgain, r.goBack(v)
	}
	if unfinished := v.next.Object > 0 && !v.alive && r.tried.IsZero(); !unfinished {
		return step{wait: patience - since}, nil
	}
	if since < grace {
		return step{wait: grace - since}, nil
	}
	r.tried = now
	r.heal(ctx, v.next, moqt.Location{Group: v.next.Group + 1})
	return lookAgain, nil
}

// backPatience is how long only lower groups may come before the clock counts as set back. It is zero if nothing of the due group
// can still come.
func (r *reader) backPatience(v view) time.Duration {
	if v.alive || v.next.Object > 0 && (!v.fin || v.unknown) || !v.known && !resets(v.back) {
		return r.c.Reorder
	}
	return 0
}

// goBack goes on with the lower groups.
func (r *reader) goBack(v view) error {
	if v.next.Object > 0 {
		if err := r.leaveGroup(v.next, v.fin && !v.unknown); err != nil {
			return err
		}
	}
	r.e.log.Warn("the broadcast's clock was set back", "from", r.group, "to", v.back.Group)
	r.hasNext = false
	r.e.asm.goBack(v.back.Group)
	return nil
}

// hole decides about objects that are missing before a newer one. As long as they can still come, they are waited for, up to
// Config.Reorder. They are fetched once after a short grace, and once more at the end of the wait; then they are left out.
func (r *reader) hole(ctx context.Context, v view) (step, error) {
	newer := moqt.Location{Group: v.newer.Group, Object: v.newer.ID}
	if !newer.Less(r.e.to) {
		newer = r.e.to
	}
	over := newer.Group > v.next.Group && !v.unknown && (v.fetched || v.fin) // no object of the group in progress is missing
	if v.fetched || r.adjacent(v, over) {
		return lookAgain, r.skip(v, newer, over)
	}
	now := time.Now()
	since := r.missingFor(v, now)
	silent := !v.alive // no stream is open on which they may come
	switch {
	case !r.tried.IsZero() && silent && r.steps(v): // the clock was set ahead, and no relay has anything between
		return lookAgain, r.skip(v, newer, over)
	case r.tried.IsZero() && silent && since >= grace, since >= r.c.Reorder && r.tried.Before(r.stuck.Add(r.c.Reorder)):
		r.tried = now
		r.heal(ctx, v.next, newer)
		return lookAgain, nil
	case since >= r.c.Reorder:
		return lookAgain, r.skip(v, newer, over)
	case r.tried.IsZero() && silent:
		return step{wait: grace - since}, nil
	}
	return step{wait: r.c.Reorder - since}, nil
}

// heal fetches missing objects, from one relay after another until one brings something.
func (r *reader) heal(ctx context.Context, from, to moqt.Location) {
	within := from.Group == to.Group || to == moqt.Location{Group: from.Group + 1}
	if !within && !r.e.mayFetch() {
		return
	}
	r.e.p.rs.ask(ctx, func(ctx context.Context, sess *client.Session) bool {
		if err := r.e.fetch(ctx, sess, from, to, healing); err != nil {
			r.e.log.Debug("relay did not heal a hole", "from", from.String(), "to", to.String(), "err", err)
		}
		return r.e.asm.has(from)
	})
}

// resets reports whether the publisher marked an object as the first one after a reset of the clock.
func resets(o *object.Object) bool {
	prop, err := object.ParseProperties(o.Properties)
	return err == nil && o.ID == 0 && prop.Flags&object.Discontinuity != 0
}

// steps reports whether the newer object's group begins after the clock was set ahead, with nothing of the group before still to
// come.
func (r *reader) steps(v view) bool {
	return r.e.ids == tagged && resets(v.newer) && v.next.Object == 0
}

// adjacent reports whether the newer object's group follows the written ones without a gap in the media. Then nothing is missing
// although group ids may skip.
func (r *reader) adjacent(v view, over bool) bool {
	if v.newer.ID != 0 || !(v.next.Object == 0 || over) {
		return false
	}
	if n := clock.BucketsBetween(r.group, v.newer.Group); r.e.ids == tagged && r.wrote && (n == 0 || n == -1) {
		return true // no chunk lies between two successive buckets
	}
	if !r.hasNext {
		return false
	}
	prop, err := object.ParseProperties(v.newer.Properties)
	if err != nil || !prop.HasPTS {
		return false
	}
	diff := clock.PTS(prop.PTS).Sub(r.expected)
	return diff > -tolerance && diff < tolerance
}
