package relaytest

import (
	"context"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

type handler struct{ r *Relay }

func (h handler) refuse(verb string, t object.TrackName) (wire.RequestCode, bool) {
	if h.r.Refuse == nil {
		return 0, false
	}
	return h.r.Refuse(verb, t)
}

// elsewhere answers a request with a redirect, if it is to go elsewhere.
func (h handler) elsewhere(verb string, t object.TrackName, q interface {
	Redirect(moqt.Redirect, string) error
}) bool {
	if h.r.Redirect == nil {
		return false
	}
	to := h.r.Redirect(verb, t)
	if to != nil {
		q.Redirect(*to, "test")
	}
	return to != nil
}

func (h handler) PublishNamespace(ctx context.Context, q *moqt.PublishNamespaceRequest) {
	if h.elsewhere("announce", object.TrackName{Namespace: q.Namespace}, q) {
		return
	}
	h.r.Announce(q.Namespace)
	q.Accept()
	h.r.keep(ctx, q.Namespace.String(), q)
}

func (h handler) Publish(ctx context.Context, q *moqt.PublishRequest) {
	if h.elsewhere("publish", q.Track, q) {
		return
	}
	if len(h.r.Wants) > 0 {
		q.Reject(wire.RequestNotSupported, "")
		return
	}
	if code, no := h.refuse("publish", q.Track); no {
		q.Reject(code, "test")
		return
	}
	sub, err := q.Accept(moqt.SubscribeOptions{NoForward: h.r.Rests && !q.Forward})
	if err == nil {
		h.r.keep(ctx, q.Track.String(), sub)
		h.r.receive(ctx, sub)
	}
}

func (h handler) TrackStatus(_ context.Context, q *moqt.TrackStatusRequest) {
	if h.elsewhere("status", q.Track, q) {
		return
	}
	r := h.r
	r.mu.Lock()
	t := r.tracks[q.Track.String()]
	var info moqt.TrackInfo
	if t != nil {
		info = moqt.TrackInfo{Largest: t.largest(), Properties: t.Properties}
	}
	r.mu.Unlock()
	if t == nil {
		q.Reject(wire.RequestDoesNotExist, "")
		return
	}
	q.Accept(info)
}

func (h handler) SubscribeNamespace(ctx context.Context, q *moqt.SubscribeNamespaceRequest) {
	if h.elsewhere("list", object.TrackName{Namespace: q.Prefix}, q) {
		return
	}
	a, err := q.Accept()
	if err != nil {
		return
	}
	h.r.keep(ctx, q.Prefix.String(), a)
	h.r.mu.Lock()
	list := append([]object.Namespace(nil), h.r.spaces...)
	h.r.mu.Unlock()
	for _, ns := range list {
		if ns.HasPrefix(q.Prefix) {
			a.Add(ns)
		}
	}
	<-ctx.Done()
}

func (h handler) Fetch(ctx context.Context, q *moqt.FetchRequest) {
	if h.elsewhere("fetch", q.Track, q) {
		return
	}
	what := "fetch"
	if q.Joining != nil {
		what = "fill"
	}
	if code, no := h.refuse(what, q.Track); no {
		q.Reject(code, "test")
		return
	}
	if h.r.Silent != nil && h.r.Silent(q.Start) {
		<-ctx.Done()
		return
	}
	r := h.r
	r.mu.Lock()
	t := r.tracks[q.Track.String()]
	var list []object.Object
	var info moqt.FetchInfo
	beyond := true
	if t != nil && t.largest() != nil {
		l := *t.largest()
		beyond = l.Less(q.Start)
		info = moqt.FetchInfo{End: moqt.Location{Group: l.Group, Object: l.Object + 1}, Properties: t.Properties}
		if q.End.Less(info.End) {
			info.End = q.End
		}
		for _, o := range t.sorted() {
			at := moqt.Location{Group: o.Group, Object: o.ID}
			if o.Status == object.Normal && !at.Less(q.Start) && (at.Less(q.End) || q.End.Object == 0 && at.Group == q.End.Group) {
				list = append(list, o)
			}
		}
	}
	r.mu.Unlock()
	if t == nil {
		q.Reject(wire.RequestDoesNotExist, "")
		return
	}
	if beyond {
		q.Reject(wire.RequestInvalidRange, "nothing there")
		return
	}
	w, err := q.Accept(info)
	if err != nil {
		return
	}
	if r.Lose != nil && len(list) == 0 {
		w.WriteObject(moqt.FetchObject{Kind: moqt.FetchedUnknown, Group: q.Start.Group, ID: q.Start.Object}, nil)
	}
	for _, o := range list {
		f := moqt.FetchObject{Group: o.Group, Subgroup: o.Subgroup, ID: o.ID, Priority: o.Priority, Properties: o.Properties}
		if w.WriteObject(f, o.Payload) != nil {
			return
		}
	}
	w.Close()
}

func (h handler) Subscribe(ctx context.Context, q *moqt.SubscribeRequest) {
	if h.elsewhere("subscribe", q.Track, q) {
		return
	}
	if code, no := h.refuse("subscribe", q.Track); no {
		q.Reject(code, "test")
		return
	}
	r := h.r
	r.mu.Lock()
	t := r.tracks[q.Track.String()]
	n := 0
	var info moqt.TrackInfo
	if t != nil {
		n = len(t.log)
		info = moqt.TrackInfo{Largest: t.largest(), Properties: t.Properties}
	}
	r.mu.Unlock()
	if t == nil {
		q.Reject(wire.RequestDoesNotExist, "")
		return
	}
	pub, err := q.Accept(info)
	if err != nil {
		return
	}
	r.keep(ctx, q.Track.String(), pub)
	stop := context.AfterFunc(pub.Context(), func() { r.mu.Lock(); defer r.mu.Unlock(); r.cond.Broadcast() })
	defer stop()
	streams := map[uint64]*moqt.SubgroupWriter{}
	broken := map[uint64]bool{}
	gone := map[uint64]bool{}
	for {
		r.mu.Lock()
		for n == len(t.log) && !t.ended && pub.Context().Err() == nil {
			r.cond.Wait()
		}
		if n == len(t.log) {
			r.mu.Unlock()
			break
		}
		o := t.log[n]
		n++
		skip := gone[o.Group] || r.Skip != nil && r.Skip(t.Name, &o)
		cut := r.Break != nil && r.Break(t.Name, &o)
		r.mu.Unlock()
		if pub.Context().Err() != nil {
			return
		}
		w := streams[o.Group]
		if skip {
			broken[o.Group] = true
			continue
		}
		if o.Status == object.EndOfGroup {
			if w != nil && broken[o.Group] {
				w.Reset(wire.ResetInternalError)
				delete(streams, o.Group)
			} else if w != nil {
				w.Close()
				delete(streams, o.Group)
			}
			continue
		}
		if w == nil {
			priority := o.Priority
			w, err = pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: o.Group, Subgroup: o.Subgroup, Priority: &priority, EndOfGroup: true, HasProperties: true})
			if err != nil {
				return
			}
			streams[o.Group] = w
		}
		if cut {
			err = w.WriteObjectHeader(o.ID, o.Properties, uint64(len(o.Payload)))
			if err == nil {
				_, err = w.Write(o.Payload[:len(o.Payload)/2])
			}
			w.Reset(wire.ResetInternalError)
			gone[o.Group] = true
			delete(streams, o.Group)
			if err != nil {
				return
			}
			continue
		}
		if w.WriteObject(o.ID, o.Properties, moqt.ObjectStatus(o.Status), o.Payload) != nil {
			return
		}
	}
	pub.Done(wire.DoneTrackEnded, "")
}
