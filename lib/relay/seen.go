package relay

import (
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
)

// What an operator sees of media. The relay knows nothing of them, and reads two small tracks of sources as anybody may: health
// (docs/format/health.md), whose newest entry it shows, and timeline (docs/format/catalog.md), which says what time it was in a broadcast.

const (
	// mostMoments bounds the tracks of which timelines tell; anybody may invent some.
	mostMoments = 10_000
	// agreeing is how far timelines of one track may be apart for one of them to be believed.
	agreeing = 2 * time.Second
)

// see adds to the status of tracks what sources tell.
func (r *Relay) see(list []Track, live map[string]*track) {
	moments := make(map[string][]catalog.TimelineEntry)
	for _, t := range live {
		if t.name.Name != catalog.TrackTimeline || !ofSource(t.name.Namespace) || !t.Live() || len(moments) >= mostMoments {
			continue
		}
		if e, err := catalog.ParseTimelineEntry(t.Last(catalog.MaxEntryBytes)); err == nil {
			key := e.Track.String()
			moments[key] = append(moments[key], *e)
		}
	}
	for i := range list {
		t := live[list[i].Track]
		if t == nil {
			continue
		}
		if t.name.Name == catalog.TrackHealth && ofSource(t.name.Namespace) {
			if h, err := catalog.ParseHealth(t.Last(catalog.MaxEntryBytes)); err == nil {
				h.Unknown = nil
				list[i].Health = h
			}
		}
		if said := moments[list[i].Track]; len(said) > 0 {
			list[i].Latency = t.latency(said)
		}
	}
}

// ofSource reports whether a namespace is a receiver's own.
func ofSource(ns object.Namespace) bool { return len(ns) == 4 && ns[0] == "ec" && ns[1] == "source" }

// latency returns how many seconds after it was broadcast the newest group of a track began to come, by the broadcast's clock and this machine's;
// nil if that cannot be said for certain.
func (t *track) latency(said []catalog.TimelineEntry) *float64 {
	naming, ok := catalog.NamingOf(t.name)
	if !ok || !naming.Chunks() {
		return nil
	}
	group, at, b, ok := t.Began()
	if !ok {
		return nil
	}
	props, err := object.ParseProperties(b)
	if err != nil || !props.HasPTS {
		return nil
	}
	first, last := time.Duration(0), time.Duration(0)
	for i := range said {
		utc, ok := naming.UTC(group, props.PTS, &said[i])
		if !ok {
			return nil
		}
		late := at.Sub(utc)
		if i == 0 {
			first, last = late, late
		}
		first, last = min(first, late), max(last, late)
	}
	if last-first > agreeing {
		return nil
	}
	seconds := float64(last.Milliseconds()) / 1000
	return &seconds
}
