package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// source is one publisher of one track.
type source struct {
	t    *track
	s    *session
	name string
	sub  *moqt.Subscription
	from store.Origin // where its objects come from, for the store
	lost error        // the error that objects of the past which it brought could not be stored

	objects, duplicates, conflicts, refused atomic.Int64
	complaint                               atomic.Int64 // Unix ns of the last log about the disk
	heard                                   atomic.Int64 // Unix ns of the last object

	progress progress

	some       bool // a stream came; this and the next field are set before its goroutine starts
	firstGroup uint64
}

// complain reports whether it is time to log again that objects could not be stored.
func (src *source) complain() bool {
	now := time.Now().UnixNano()
	last := src.complaint.Load()
	return now-last > int64(10*time.Second) && src.complaint.CompareAndSwap(last, now)
}

// attach makes a subscription of ours a source of a track.
func (s *session) attach(t *track, sub *moqt.Subscription) *source {
	src := &source{t: t, s: s, name: s.name, sub: sub}
	t.attach(src, sub.Info().Properties)
	s.r.keep(t)
	s.r.namespacesChanged()
	s.r.log.Info("publisher", "track", t.name.String(), "source", src.name)
	return src
}

// run takes all objects of the subscription until it ends.
func (src *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { src.datagrams(ctx) })
	var err error
	for {
		var r *moqt.SubgroupReader
		if r, err = src.sub.AcceptSubgroup(ctx); err != nil {
			break
		}
		if !src.some {
			src.some, src.firstGroup = true, r.Header().Group
		}
		wg.Go(func() { src.subgroup(r) })
	}
	if ctx.Err() != nil {
		src.sub.Unsubscribe()
	}
	wg.Wait()
	done, _ := errors.AsType[*moqt.DoneError](err)
	src.t.detach(src, done != nil && done.Code == wire.DoneTrackEnded)
	r := src.t.r
	r.log.Info("publisher left", "track", src.t.name.String(), "source", src.name, "objects", src.objects.Load(),
		"duplicates", src.duplicates.Load(), "conflicts", src.conflicts.Load(), "refused", src.refused.Load(), "reason", err)
	r.namespacesChanged()
}

// subgroup takes the objects of one stream.
func (src *source) subgroup(r *moqt.SubgroupReader) {
	h := r.Header()
	t := src.t
	var opened *group
	var prev uint64
	hasPrev, ended := false, false
	more := false // this source has ended the track, and other sources have not
	f := &feed{src: src, r: r}
	defer f.close()
	broken := func(err error) {
		t.streamClosed(opened, h.Group, h.Subgroup, prev, false)
		t.r.stats.brokenStreams.Add(1)
		t.r.log.Debug("stream of a publisher broke", "track", t.name.String(), "group", h.Group, "source", src.name, "err", err)
	}
	for {
		oh, err := r.Next()
		if err != nil && err != io.EOF {
			broken(err)
			return
		}
		if err == io.EOF {
			clean := hasPrev && !more
			if clean && h.EndOfGroup && !ended {
				o := &obj{Object: object.Object{Group: h.Group, Subgroup: h.Subgroup, ID: prev + 1, Priority: r.Priority(), Status: object.EndOfGroup}}
				o.place = place{prev: prev, hasPrev: true}
				src.take(nil, o, object.Sum(nil))
				prev++
			}
			t.streamClosed(opened, h.Group, h.Subgroup, prev, clean)
			return
		}
		h = r.Header() // the subgroup may be known only after the first object
		if object.Status(oh.Status) == object.EndOfTrack && t.others(src) {
			// A home that stops ends neither the broadcast nor the group at which it stopped.
			t.r.log.Info("end of track not taken, others publish it", "track", t.name.String(), "source", src.name)
			more = true
			continue
		}
		weight := min(int64(oh.Size), t.r.c.IngestBytes)
		// The request's context would end with PUBLISH_DONE, while streams may still be on their way in.
		if err := src.s.ingest.Acquire(src.s.s.Context(), weight); err != nil {
			r.Cancel(wire.ResetCancelled)
			t.streamClosed(opened, h.Group, h.Subgroup, prev, false)
			return
		}
		o := &obj{size: int(oh.Size), Object: object.Object{
			Group: h.Group, Subgroup: h.Subgroup, ID: oh.ID, Priority: r.Priority(), Status: object.Status(oh.Status), Properties: slices.Clone(oh.Properties),
		}}
		// The first object of a stream is the first of its subgroup, unless this source began in the middle of the group.
		o.place = place{prev, hasPrev, !hasPrev && (oh.ID == 0 || h.SubgroupFromFirst || !src.cameIn(h.Group))}
		o.opens = !hasPrev && h.FirstObject
		o.source, o.at = src.name, time.Now()
		sum, err := f.read(o, int(oh.Size))
		kept := false
		if err == nil {
			kept = src.take(f, o, sum)
		}
		f.end(o, kept, err)
		src.s.ingest.Release(weight)
		if err != nil {
			broken(err)
			return
		}
		if o.conflict && o.Status != object.EndOfTrack {
			// Two different groups have one name: one of them is kept whole, and nothing is mixed from both. The publisher is
			// told.
			r.Cancel(wire.ResetMalformedTrack)
			t.streamClosed(opened, h.Group, h.Subgroup, prev, false)
			return
		}
		if opened == nil {
			opened = t.streamOpened(h.Group)
		}
		prev, hasPrev = oh.ID, true
		ended = o.Status != object.Normal
	}
}

// cameIn reports whether the source may have begun in the middle of a group. That may be the group of its first stream, or the
// group at which its publisher was when it was asked: streams overtake one another, so the first one that comes may be of another
// group.
func (src *source) cameIn(group uint64) bool {
	l := src.sub.Info().Largest
	return group == src.firstGroup || l != nil && group == l.Group
}

// take checks an object, whose payload has the hash sum, and hands it on. kept reports that the track now owns the object's
// memory.
func (src *source) take(f *feed, o *obj, sum object.Hash) (kept bool) {
	p, err := object.ParseProperties(o.Properties)
	if err == nil && p.HasHash && o.Status == object.Normal && p.Hash != sum {
		err = object.ErrHash
	}
	if err != nil {
		src.refused.Add(1)
		src.t.r.stats.refused.Add(1)
		src.t.r.log.Warn("object refused", "track", src.t.name.String(), "group", o.Group, "object", o.ID, "source", src.name, "err", err)
		return false
	}
	o.source = src.name
	if o.at.IsZero() {
		o.at = time.Now()
	}
	src.heard.Store(time.Now().UnixNano())
	return src.t.put(src, f, o, sum)
}

// datagrams takes objects that come as datagrams; each of them is a subgroup of its own (§10.2.2).
func (src *source) datagrams(ctx context.Context) {
	for {
		d, err := src.sub.AcceptDatagram(ctx)
		if err != nil {
			return
		}
		o := &obj{size: len(d.Payload), datagram: &d, place: place{first: true}, Object: object.Object{
			Group: d.Group, Subgroup: d.ID, ID: d.ID, Priority: moqt.DefaultPriority, Status: object.Status(d.Status),
			Properties: d.Properties, Payload: d.Payload,
		}}
		if d.Priority != nil {
			o.Priority = *d.Priority
		}
		src.take(nil, o, object.Sum(o.Payload))
		src.t.streamClosed(nil, d.Group, d.ID, d.ID, true)
	}
}

// subscribeAnnounced subscribes to t at every session that announced its namespace and does not publish
// it yet, and waits for the answers. It reports whether anybody publishes the track.
func (r *Relay) subscribeAnnounced(ctx context.Context, t *track) bool {
	var wg sync.WaitGroup
	for _, s := range r.announcing(t.name.Namespace) {
		if !s.claim(t, true) {
			continue
		}
		wg.Go(func() {
			sub, err := s.s.Subscribe(ctx, t.name, moqt.SubscribeOptions{})
			if err != nil {
				crossed := s.unclaim(t)
				var re *moqt.RequestError
				if !errors.As(err, &re) || re.Code != wire.RequestDoesNotExist && !crossed {
					r.log.Warn("publisher refused its track", "track", t.name.String(), "source", s.name, "err", err)
				}
				return
			}
			s.answered(t)
			src := s.attach(t, sub)
			go func() {
				defer s.unclaim(t)
				src.run(s.s.Context())
			}()
		})
	}
	wg.Wait()
	return t.exists()
}
