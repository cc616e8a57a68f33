package relay

import (
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
	"every.channel/ec/lib/trace"
)

// put is Put of live.Track, and tells of the object's way if the object is traced.
func (t *track) put(src *source, in *live.Feed, o *live.Object, payload []byte, mem *live.Payload, sum object.Hash) live.Result {
	id, traced := t.r.c.Traces.Of(t.name, o.Group, o.ID)
	if !traced {
		return t.Track.Put(in, payload, mem, sum)
	}
	at, size, begun := o.At, o.Size, time.Now()
	group, number := o.Group, o.ID
	res := t.Track.Put(in, payload, mem, sum)
	now := time.Now()
	if at.IsZero() {
		at = begun
	}
	about := append(traceAttributes(t.name, group, number, size), trace.Attribute{Name: "ec.peer", Text: src.Name}, trace.Attribute{Name: "ec.outcome", Text: outcomes[res.Outcome]})
	wrong := ""
	if res.Err != nil {
		wrong = res.Err.Error()
	}
	// The way begins where the object is new and comes from no other relay, which would tell of its beginning.
	t.r.c.Traces.Add(trace.Span{ID: id, Begins: res.Outcome == live.Stored && !src.Upstream, Name: "receive", Kind: trace.Consumer, Start: at, End: now, Attributes: about, Err: wrong})
	t.r.c.Traces.Add(trace.Span{ID: id, Name: "store", Kind: trace.Internal, Start: begun, End: now, Attributes: about})
	return res
}

var outcomes = map[live.Outcome]string{
	live.Stored: "new", live.Duplicate: "duplicate", live.Conflict: "conflict", live.Refused: "refused", live.Quarantined: "quarantined",
	live.Apart: "apart", live.Withheld: "withheld", live.Lost: "lost",
}

// sentTrace tells of an object that was sent to a subscriber.
func (p *pump) sentTrace(s *live.Step, begun time.Time, err error) {
	t := p.s.t
	id, traced := t.r.c.Traces.Of(t.name, s.Object.Group, s.Object.ID)
	if !traced {
		return
	}
	wrong := ""
	if err != nil {
		wrong = err.Error()
	}
	from := "memory"
	if s.Since.IsZero() {
		from = "disk"
	}
	t.r.c.Traces.Add(trace.Span{
		ID: id, Name: "send", Kind: trace.Producer, Start: begun, End: time.Now(), Err: wrong,
		Attributes: append(traceAttributes(t.name, s.Object.Group, s.Object.ID, s.Size), trace.Attribute{Name: "ec.peer", Text: p.s.name}, trace.Attribute{Name: "ec.from", Text: from}),
	})
}

func traceAttributes(name object.TrackName, group, id uint64, size int) []trace.Attribute {
	return []trace.Attribute{
		{Name: "ec.track", Text: name.String()}, {Name: "ec.group", N: int64(group)}, {Name: "ec.object", N: int64(id)}, {Name: "ec.bytes", N: int64(size)},
	}
}
