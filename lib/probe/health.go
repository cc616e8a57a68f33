package probe

import (
	"fmt"
	"io"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// Meter measures a transport stream that somebody else reads, as far as a health track tells of it (docs/format/health.md). One goroutine
// at a time uses it.
type Meter struct {
	a       *analyzer
	told    catalog.TR101290 // by the entry before
	packets int64            // likewise
	elapsed clock.Ticks27
}

// NewMeter returns a meter that has seen nothing.
func NewMeter() *Meter { return &Meter{a: newAnalyzer(Config{}, &lines{w: io.Discard})} }

// Packets takes a run of packets, stride bytes from each one to the next.
func (m *Meter) Packets(run []byte, stride int) { m.a.take(run, stride) }

// Lost takes bytes that were no packets.
func (m *Meter) Lost(e *ts.SyncError, stride int) { m.a.lostSync(e, stride) }

// Elapsed is how long the stream has run, by its PCR.
func (m *Meter) Elapsed() clock.Ticks27 { return m.a.base.elapsed }

// Health returns an entry with what was measured. What its caller knows alone is left out.
func (m *Meter) Health() catalog.Health {
	a := m.a
	h := catalog.Health{Seconds: seconds(a.base.elapsed), Packets: a.packets, TR101290: a.measured()}
	h.TR101290.Grow(&m.told)
	for i := range a.pids {
		h.Lost += a.pids[i].lost
		h.Scrambled += a.pids[i].scrambled
	}
	if t := a.base.elapsed - m.elapsed; t > 0 {
		h.Rate = rate(a.packets-m.packets, t)
	}
	m.told, m.packets, m.elapsed = h.TR101290, a.packets, a.base.elapsed
	return h
}

// health prints an entry of a health track.
func (p *objects) health(t *trackState, h *catalog.Health) {
	p.healthOf(t.Track.Namespace, h)
	if p.cfg.JSON {
		p.out.put(map[string]any{"v": 1, "type": "health", "track": t.Track, "entry": h})
		return
	}
	p.out.printf("health of %v: %s\n", t.Track.Namespace, HealthText(h))
}

// HealthText is an entry on one line, for people: what is 0 is left out.
func HealthText(h *catalog.Health) string {
	var b []byte
	if h.UTC != nil {
		b = fmt.Appendf(b, "%s UTC, ", h.UTC.Format(time.DateTime))
	}
	if t := h.Tuner; t != nil {
		for _, s := range []struct {
			name string
			n    *int
		}{{"strength", t.Strength}, {"quality", t.Quality}, {"symbols", t.Symbol}} {
			if s.n != nil {
				b = fmt.Appendf(b, "%s %d %%, ", s.name, *s.n)
			}
		}
	}
	b = fmt.Appendf(b, "%s, %d chunks of which %d promoted, %d damaged", rateText(h.Rate), h.Chunks.All, h.Chunks.Promoted, h.Chunks.Damaged)
	if h.Silent > 0 {
		b = fmt.Appendf(b, ", no chunk for %s", secondsText(h.Silent))
	}
	count := func(name string, n int64) {
		if n > 0 {
			b = fmt.Appendf(b, ", %s %d", name, n)
		}
	}
	count("lost packets", h.Lost)
	count("scrambled packets", h.Scrambled)
	for _, c := range h.TR101290.Counters() {
		count(c.Name, c.N)
	}
	if t := h.Tuner; t != nil {
		count("tuner lost packets", t.Lost)
		count("tuner transport errors", t.TEI)
		count("tuner gaps", t.Gaps)
		count("lost datagrams", t.Datagrams)
		if t.Silent >= 1 {
			b = fmt.Appendf(b, ", nothing from the tuner for %s", secondsText(t.Silent))
		}
	}
	return string(b)
}
