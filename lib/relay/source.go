package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
)

// source is one publisher of one track.
type source struct {
	live.Source
	t       *track
	s       *session
	sub     *moqt.Subscription // nil: it is fetched from
	standby *standby           // nil: it is none
	lost    error              // the error that objects of the past which it brought could not be stored

	complaint atomic.Int64 // Unix ns of the last log about the disk

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
func (s *session) attach(t *track, sub *moqt.Subscription, rests bool) *source {
	src := &source{t: t, s: s, sub: sub}
	if rests {
		src.reserve()
		peer, err := s.s.Peer(s.s.Context())
		src.Eager = err != nil || !mesh.Ours(peer.Implementation) // it may be none, and keep nothing
	}
	src.Name, src.Upstream = s.name, s.up != nil
	src.Who, src.Host = s.home()
	if src.Upstream {
		src.Told = func() *moqt.Location { return sub.Info().Largest }
	}
	t.Attach(&src.Source, sub.Info().Properties)
	t.publishers.add(src)
	if t.banned.Load() != nil { // since a moment
		if s.up == nil {
			s.turnAway(t.name)
		}
		sub.Unsubscribe()
	}
	s.r.keep(t)
	s.keeps(t)
	s.r.namespacesChanged()
	s.r.log.Info("publisher", "track", t.name.String(), "source", src.Name, "standby", rests)
	return src
}

// run takes all objects of the subscription until it ends.
func (src *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { src.datagrams(ctx) })
	watch, over := context.WithCancel(ctx)
	defer over()
	if src.standby != nil {
		wg.Go(func() { src.obey(watch) })
		wg.Go(func() { src.watch(watch) })
	}
	var err error
	for {
		var r *moqt.SubgroupReader
		if r, err = src.sub.AcceptSubgroup(ctx); err != nil {
			break
		}
		if !src.some {
			src.some, src.firstGroup = true, r.Header().Group
		}
		over, err := src.s.peer.Take(limits.Streams, 1)
		if err != nil {
			r.Cancel(wire.ResetExcessiveLoad)
			continue
		}
		wg.Go(func() {
			defer over()
			src.subgroup(r)
		})
	}
	over()
	if ctx.Err() != nil {
		src.sub.Unsubscribe()
	}
	wg.Wait()
	done, _ := errors.AsType[*moqt.DoneError](err)
	src.t.publishers.remove(src)
	src.t.Detach(&src.Source, done != nil && done.Code == wire.DoneTrackEnded)
	r := src.t.r
	r.log.Info("publisher left", "track", src.t.name.String(), "source", src.Name, "objects", src.Objects.Load(),
		"duplicates", src.Duplicates.Load(), "conflicts", src.Conflicts.Load(), "refused", src.Refused.Load(), "err", err)
	r.namespacesChanged()
}

// subgroup is one stream of a source.
type subgroup struct {
	src   *source
	r     *moqt.SubgroupReader
	feed  feed
	in    *live.Stream
	place live.Place // of the next object
	ended bool       // the last object was an end
	more  bool       // this source has ended the track, and other sources have not
}

// subgroup takes the objects of one stream.
func (src *source) subgroup(r *moqt.SubgroupReader) {
	s := &subgroup{src: src, r: r, feed: feed{t: src.t, r: r}, in: src.t.Stream()}
	defer s.feed.close()
	clean, err := s.run()
	h := r.Header()
	s.in.Close(h.Group, h.Subgroup, s.place.Prev, clean)
	if err != nil {
		src.t.r.stats.brokenStreams.Add(1)
		src.t.r.log.Debug("stream of a publisher broke", "track", src.t.name.String(), "group", h.Group, "source", src.Name, "err", err)
	}
}

// run takes objects until the stream ends, clean with its FIN, or is given up. An error is one of reading it.
func (s *subgroup) run() (clean bool, err error) {
	src, t := s.src, s.src.t
	for {
		oh, err := s.r.Next()
		if err == io.EOF {
			return s.fin(), nil
		}
		if err != nil {
			return false, err
		}
		if object.Status(oh.Status) == object.EndOfTrack && t.Others(&src.Source) {
			// A home that stops ends neither the broadcast nor the group at which it stopped.
			t.r.log.Info("end of track not taken, others publish it", "track", t.name.String(), "source", src.Name)
			s.more = true
			continue
		}
		if !src.affords(int64(oh.Size)) {
			s.r.Cancel(wire.ResetExcessiveLoad)
			return false, nil
		}
		weight := min(int64(oh.Size), t.r.c.IngestBytes)
		// The request's context would end with PUBLISH_DONE, while streams may still be on their way in.
		if src.s.ingest.Acquire(src.s.s.Context(), weight) != nil {
			s.r.Cancel(wire.ResetCancelled)
			return false, nil
		}
		o := s.object(oh)
		res, err := s.feed.take(src, o)
		src.s.ingest.Release(weight)
		if err != nil {
			return false, err
		}
		src.took(o, res)
		if res.Outcome == live.Stored {
			src.s.peer.Use(limits.Stored, int64(oh.Size))
		}
		if (res.Outcome == live.Conflict || res.Outcome == live.Quarantined || res.Outcome == live.Apart) && o.Status != object.EndOfTrack {
			// Two different groups have one name: one of them is kept whole, and nothing is mixed from both. Or the group does not fit, or its
			// home is not believed. The publisher is told.
			s.r.Cancel(wire.ResetMalformedTrack)
			return false, nil
		}
		if res.Outcome == live.Withheld && o.Status == object.Normal {
			s.r.Cancel(wire.ResetCancelled)
			return false, nil
		}
		s.in.Brought(o.Group)
		s.place = live.Place{Prev: oh.ID, HasPrev: true}
		s.ended = o.Status != object.Normal
	}
}

// affords waits until an object of a size may come from the source's peer. It returns false if none may, or the session is over.
func (src *source) affords(size int64) bool {
	p := src.s.peer
	return p.Spend(limits.Stored, 0) == nil && p.Wait(src.s.s.Context(), limits.In, size+objectOverhead, nil) == nil
}

// object is the one that a header begins.
func (s *subgroup) object(oh moqt.ObjectHeader) *live.Object {
	h := s.r.Header() // the subgroup may be known only after the first object
	o := &live.Object{Size: int(oh.Size), Place: s.place, At: time.Now(), Object: object.Object{
		Group: h.Group, Subgroup: h.Subgroup, ID: oh.ID, Priority: s.r.Priority(), Status: object.Status(oh.Status), Properties: slices.Clone(oh.Properties),
	}}
	if !s.place.HasPrev {
		// The first object of a stream is the first of its subgroup, unless this source began in the middle of the group.
		o.First = oh.ID == 0 || h.SubgroupFromFirst || !s.src.cameIn(h.Group)
		o.Opens = h.FirstObject
	}
	return o
}

// fin ends the stream with its FIN, and the group if its header said so. It reports whether the last object was the subgroup's last.
func (s *subgroup) fin() (clean bool) {
	h := s.r.Header()
	if clean = s.place.HasPrev && !s.more; clean && h.EndOfGroup && !s.ended {
		s.src.take(&live.Object{Place: s.place, Object: object.Object{
			Group: h.Group, Subgroup: h.Subgroup, ID: s.place.Prev + 1, Priority: s.r.Priority(), Status: object.EndOfGroup,
		}})
		s.place.Prev++
	}
	return clean
}

// cameIn reports whether the source may have begun in the middle of a group. A standby may at any time. Else that may be the group of its first stream, or the
// group at which its publisher was when it was asked: streams overtake one another, so the first one that comes may be of another
// group.
func (src *source) cameIn(group uint64) bool {
	l := src.sub.Info().Largest
	return src.Standby || group == src.firstGroup || l != nil && group == l.Group
}

// take hands on an object that is whole.
func (src *source) take(o *live.Object) {
	in := src.t.Begin(&src.Source, o)
	src.took(o, src.t.put(src, &in, o, o.Payload, nil, object.Sum(o.Payload)))
}

// took tells what became of an object, if somebody should know.
func (src *source) took(o *live.Object, res live.Result) {
	if res.Err == nil && res.Outcome != live.Conflict {
		return
	}
	log := src.t.r.log.With("track", src.t.name.String(), "group", o.Group, "object", o.ID)
	switch {
	case res.Outcome == live.Refused:
		log.Warn("object refused", "source", src.Name, "err", res.Err)
		return
	case res.Outcome == live.Apart:
		log.Log(context.Background(), src.t.r.apart.Level(), "group held apart", "source", src.Name, "err", res.Err)
		return
	case res.Outcome == live.Quarantined:
		log.Debug("not taken, quarantined", "source", src.Name)
		return
	case res.Outcome == live.Lost:
		src.lost = res.Err
		return
	case res.Outcome == live.Withheld:
		log.Debug("not taken, it is taken down", "source", src.Name)
		return
	case res.Err != nil && src.complain(): // live viewers go on without the disk; what they see is not kept
		log.Error("object served but not stored", "err", res.Err)
	}
	if res.Outcome == live.Conflict {
		log.Warn("conflict refused", "source", src.Name, "first", res.First)
	}
}

// datagrams takes objects that come as datagrams; each of them is a subgroup of its own (§10.2.2).
func (src *source) datagrams(ctx context.Context) {
	for {
		d, err := src.sub.AcceptDatagram(ctx)
		if err != nil {
			return
		}
		if src.s.peer.Spend(limits.In, int64(len(d.Payload))+objectOverhead) != nil || src.s.peer.Spend(limits.Stored, 0) != nil {
			continue
		}
		o := &live.Object{Size: len(d.Payload), Datagram: &d, Place: live.Place{First: true}, Object: object.Object{
			Group: d.Group, Subgroup: d.ID, ID: d.ID, Priority: moqt.DefaultPriority, Status: object.Status(d.Status),
			Properties: d.Properties, Payload: d.Payload,
		}}
		if d.Priority != nil {
			o.Priority = *d.Priority
		}
		src.take(o)
		src.t.Stream().Close(d.Group, d.ID, d.ID, true)
	}
}

// subscribeAnnounced subscribes to t at every session that announced its namespace and does not publish
// it yet, and waits for the answers. It reports whether anybody publishes the track.
func (r *Relay) subscribeAnnounced(ctx context.Context, t *track) bool {
	var wg sync.WaitGroup
	for _, s := range r.announcing(t.name.Namespace) {
		wg.Go(func() {
			err := s.subscribeTo(ctx, t, auth.PublishNamespace)
			var re *moqt.RequestError
			if err != nil && (!errors.As(err, &re) || re.Code != wire.RequestDoesNotExist) {
				r.log.Log(ctx, r.refusals.Level(), "publisher refused its track", "track", t.name.String(), "source", s.name, "err", err)
			}
		})
	}
	wg.Wait()
	return t.Exists()
}
