package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Fetch answers a FETCH from the store, and with what upstreams bring. Ranges that the relay does not know are marked as unknown.
func (s *session) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if len(r.Track.Namespace) > 1 && r.Track.Namespace[0] == mesh.InventoryField {
		s.inventory(ctx, r)
		return
	}
	through := hopsOf(r.Tokens)
	asked := span{r.Start, half(r.End)}
	if s.r.takenDown(s.named(r.Track), asked) {
		r.Reject(wire.RequestUnauthorized, bannedByOrder.why)
		return
	}
	t := s.r.whole(s.named(r.Track), asked)
	here := t != nil
	if !here {
		found, ok := s.inquires(s.named(r.Track), r.Reject)
		if !ok {
			return
		}
		t, _ = s.r.known(ctx, s.named(r.Track), through)
		found(t)
	}
	if t == nil {
		r.Reject(wire.RequestDoesNotExist, "nobody publishes it and nothing is stored")
		return
	}
	info := t.Info()
	if info.Largest == nil || info.Largest.Less(r.Start) {
		r.Reject(wire.RequestInvalidRange, "starts after the largest object")
		return
	}
	if r.GroupOrder == wire.GroupOrderDescending {
		r.Reject(wire.RequestNotSupported, "descending order")
		return
	}
	all := span{asked.from, minLocation(asked.to, startOf(info.Largest.Group+1))}
	if !here && s.r.chained() && (r.FillTimeout == nil || *r.FillTimeout > 0) {
		near := span{maxLocation(all.from, startOf(info.Largest.Group-min(info.Largest.Group, t.reach(1)))), all.to}
		if !near.to.Less(next(*info.Largest)) { // and whether the largest object was its group's last one
			near.to = startOf(info.Largest.Group + 1)
		}
		s.r.fillNear(ctx, t, near, through, s)
	}
	if i, ok := t.st.Group(info.Largest.Group); !ok || !i.Complete { // it is not known what will follow in that group
		all.to = minLocation(all.to, next(*info.Largest))
	}
	end := full(all.to)
	w, err := r.Accept(moqt.FetchInfo{End: end, Properties: info.Properties})
	if err != nil {
		return
	}
	s.r.stats.fetches.Add(1)
	f := fetch{t: t, w: w, by: s, at: r.Start, patience: r.FillTimeout}
	if err := f.serve(ctx, all, through); err != nil {
		var left *moqt.StreamResetError
		if ctx.Err() == nil && !errors.As(err, &left) {
			s.r.log.Warn("fetch broke", "track", t.name.String(), "peer", s.name, "at", f.at.String(), "err", err)
		}
		w.Reset(wire.ResetInternalError)
		return
	}
	w.Close()
}

// fetch is one answer to a FETCH, on its way.
type fetch struct {
	t  *track
	w  *moqt.FetchWriter
	by *session
	// patience bounds the time that upstreams may take in all; nil: no bound (draft-18 §10.2.6).
	patience *time.Duration
	at       moqt.Location // everything before this was sent, or marked as unknown
	end      moqt.Location // exclusive; Object 0: the whole group
	late     bool          // upstreams had no more time
	// whole reports that every object up to the end of the group before f.at is known.
	whole bool
}

// serve sends the stored objects, and the objects that upstreams bring as they come.
func (f *fetch) serve(ctx context.Context, all span, through []string) error {
	if f.t.r.fillable(f.t, f.by) && (f.patience == nil || *f.patience > 0) {
		wait := ctx
		if f.patience != nil {
			var cancel context.CancelFunc
			wait, cancel = context.WithTimeout(ctx, *f.patience)
			defer cancel()
		}
		err := f.t.r.fillAndServe(wait, f.t, all, through, f.by, func(to moqt.Location) error {
			if !f.at.Less(to) {
				return nil
			}
			f.end = full(to)
			return f.run(ctx)
		})
		if err != nil {
			return err
		}
		f.late = wait.Err() != nil
	}
	f.late = f.late || f.patience != nil && *f.patience == 0
	f.end = full(all.to)
	if err := f.run(ctx); err != nil {
		return err
	}
	if f.end.Object > 0 && !f.at.Less(f.end) || f.at.Group > f.end.Group {
		return nil
	}
	return f.missing(f.end.Group) // without this, what is asked for behind the last stored group would not exist
}

// run sends the stored objects from f.at to f.end.
func (f *fetch) run(ctx context.Context) error {
	for ctx.Err() == nil {
		i, ok := f.t.st.Next(f.at.Group)
		if !ok || i.Group > f.end.Group {
			break
		}
		if i.Group > f.at.Group {
			if err := f.missing(i.Group - 1); err != nil {
				return err
			}
			f.at = moqt.Location{Group: i.Group}
		}
		f.whole = false
		if err := f.group(ctx, i.Group); err != nil {
			return err
		}
		if i.Group == f.end.Group && f.end.Object > 0 {
			f.at = maxLocation(f.at, f.end)
			break
		}
		f.at = moqt.Location{Group: i.Group + 1}
	}
	return ctx.Err()
}

// missing marks everything from f.at to the end of a group, of which nothing is stored, as unknown.
func (f *fetch) missing(last uint64) error {
	if f.whole { // otherwise the range below would include the end of that group
		o := moqt.FetchObject{Kind: moqt.FetchedNonExistent, Group: f.at.Group - 1, ID: object.MaxVarint}
		if err := f.w.WriteObject(o, nil); err != nil {
			return err
		}
		f.whole = false
	}
	return f.unknown(moqt.Location{Group: last, Object: object.MaxVarint})
}

// group sends the objects of one group from f.at to f.end. What cannot be read of it is marked as unknown, and costs no other group.
func (f *fetch) group(ctx context.Context, id uint64) error {
	rest := moqt.Location{Group: id, Object: object.MaxVarint}
	r, err := f.t.st.Open(id, f.at.Object)
	if errors.Is(err, store.ErrNotFound) { // retention has just removed the group
		return f.unknown(rest)
	}
	if err != nil {
		f.t.r.log.Debug("stored group cannot be read", "track", f.t.name.String(), "group", id, "err", err) // the store has said so, once
		return f.unknown(rest)
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err == io.EOF {
			if r.Info().Complete {
				f.whole = true
				return nil
			}
			return f.unknown(rest)
		}
		if errors.Is(err, store.ErrDamaged) {
			f.t.r.log.Debug("stored group is damaged", "track", f.t.name.String(), "group", id, "err", err)
			return f.unknown(rest)
		}
		if err != nil {
			f.t.r.log.Debug("stored group cannot be read", "track", f.t.name.String(), "group", id, "err", err)
			return f.unknown(rest)
		}
		l := moqt.Location{Group: id, Object: o.ID}
		if id == f.end.Group && f.end.Object > 0 && o.ID >= f.end.Object {
			if f.at.Object < f.end.Object {
				return f.unknown(l)
			}
			return nil
		}
		if o.ID > f.at.Object {
			if err := f.unknown(moqt.Location{Group: id, Object: o.ID - 1}); err != nil {
				return err
			}
		}
		f.at = next(l)
		if o.Status != object.Normal {
			continue // a response to FETCH has no object statuses: an object that is left out does not exist (§10.4.4)
		}
		if err = f.by.peer.Wait(ctx, limits.Out, int64(len(o.Payload)), nil); err == nil {
			err = f.w.WriteObject(moqt.FetchObject{Group: id, Subgroup: o.Subgroup, ID: o.ID, Priority: o.Priority, Properties: o.Properties}, o.Payload)
		}
		if err != nil {
			return err
		}
		c := &f.t.r.stats
		c.sentObjects.Add(1)
		c.sentBytes.Add(int64(len(o.Payload)))
		c.sentFromDisk.Add(1)
	}
}

// unknown marks the range from f.at to l, or to the end, as unknown; or as non-existent, where upstreams said so.
func (f *fetch) unknown(l moqt.Location) error {
	if l.Group == f.end.Group && f.end.Object > 0 && l.Object >= f.end.Object {
		l.Object = f.end.Object - 1
	}
	if l.Less(f.at) {
		return nil
	}
	kind := moqt.FetchedUnknown
	behind := next(l)
	if l.Object == object.MaxVarint {
		behind = startOf(l.Group + 1)
	}
	if len(f.t.answers.without(span{f.at, behind})) == 0 {
		kind = moqt.FetchedNonExistent
	}
	late := f.late && kind == moqt.FetchedUnknown
	return f.w.WriteObject(moqt.FetchObject{Kind: kind, Group: l.Group, ID: l.Object, TimedOut: late}, nil)
}
