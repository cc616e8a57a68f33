package probe

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// topEvery is how often a picture is drawn.
const topEvery = time.Second

// topTS makes pictures of a transport stream: what there was since the picture before, and all errors.
type topTS struct {
	a       *analyzer
	packets [ts.NumPIDs]int64 // at the picture before
	all     int64
	elapsed clock.Ticks27
	at      time.Time
	errors  int64
}

// picture is the next one. The analyzer's mutex is held.
func (t *topTS) picture(now time.Time) string {
	a := t.a
	r := a.report(false, a.stride, 0)
	// By the stream's own time where it goes on, so that a file has the rates that it had on the air.
	per := (a.base.elapsed - t.elapsed).Seconds()
	if per <= 0 && !t.at.IsZero() {
		per = now.Sub(t.at).Seconds()
	}
	rate := func(packets int64) int64 {
		if per <= 0 {
			return 0
		}
		return int64(float64(packets) * ts.PacketSize * 8 / per)
	}
	var b strings.Builder
	printf := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	utc := "no time table"
	if r.Time != nil && r.Time.Last != nil {
		utc = r.Time.Last.Format(time.DateTime) + " UTC"
	}
	printf("MPEG-TS %s  %s  %s  %d packets, %.1f %% null", utc, secondsText(r.Seconds), rateText(rate(a.packets-t.all)), r.Packets,
		100*float64(r.Null)/float64(max(r.Packets, 1)))
	if r.Skipped > 0 {
		printf(", %d bytes were no packets", r.Skipped)
	}
	if r.Arrival != nil {
		printf(", arrival jitter %.0f ms", r.Arrival.JitterMs)
	}
	var sum int64
	var errs []string
	for _, c := range r.TR.Counters() {
		sum += c.N
		if c.N > 0 {
			errs = append(errs, fmt.Sprintf("%s %d", c.Name, c.N))
		}
	}
	printf("\nTR 101 290: %s", cmp.Or(strings.Join(errs, ", "), "no errors"))
	if n := sum - t.errors; n > 0 && !t.at.IsZero() {
		printf("  (%d new)", n)
	}
	printf("\n\n")
	for _, p := range r.Programs {
		printf("program %-5d %-7s %-24s PMT 0x%04x PCR 0x%04x ", p.Number, p.Channel, p.Name, p.PMTPID, p.PCRPID)
		if !p.PMT {
			printf(" no PMT")
		}
		for _, s := range p.Streams {
			printf(" %s", s.Codec)
		}
		printf("\n")
	}
	printf("\n%-7s %-16s %14s %6s %8s %8s %8s %6s\n", "PID", "carries", "now", "%", "cc-err", "lost", "scramb", "dup")
	for _, p := range r.PIDs {
		n := p.Packets - t.packets[p.PID]
		printf("0x%04x  %-16s %14s %6.2f %8d %8d %8d %6d\n", p.PID, p.What, rateText(rate(n)), 100*float64(n)/float64(max(a.packets-t.all, 1)),
			p.Gaps, p.Lost, p.Scrambled, p.Dups)
		t.packets[p.PID] = p.Packets
	}
	if len(r.PCR) > 0 {
		printf("\n%-7s %8s %10s %10s %8s %8s %8s %12s\n", "PCR", "count", "mean ms", "max ms", ">40 ms", ">100 ms", "jumps", "jitter ns")
	}
	for _, p := range r.PCR {
		jitter := "-"
		if p.JitterNs != nil {
			jitter = fmt.Sprintf("%.0f", *p.JitterNs)
		}
		printf("0x%04x  %8d %10.3f %10.3f %8d %8d %8d %12s\n", p.PID, p.Count, p.MeanMs, p.MaxMs, p.Over40, p.Repetition, p.Discontinuity, jitter)
	}
	t.all, t.elapsed, t.at, t.errors = a.packets, a.base.elapsed, now, sum
	return b.String()
}

// topObjects makes pictures of an object stream.
type topObjects struct {
	p       *objects
	at      time.Time
	payload int64
	bytes   map[*trackState]int64 // at the picture before
}

// seen is what a picture says of a track beside the counts.
type seen struct {
	latency *time.Duration // of the newest chunk whose time is known: when it began to come, after its first picture was due
	damaged int64          // chunks, by the manifest
}

// picture is the next one. The mutex of the objects is held.
func (t *topObjects) picture(now time.Time) string {
	p := t.p
	per := now.Sub(t.at).Seconds()
	rate := func(n int64) string {
		if t.at.IsZero() || per <= 0 {
			return "-"
		}
		return rateText(int64(float64(n) * 8 / per))
	}
	var b strings.Builder
	printf := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	r := &p.rep
	printf("object stream  %s  %d objects with %s in %d tracks, damaged at %d places", rate(r.Payload-t.payload), r.Objects, bytesText(r.Payload), len(p.tracks), r.Corrupt)
	if v := r.Verified; v != nil {
		printf(", hashes %d right, %d wrong", v.OK, v.Mismatch)
	}
	if r.Contradict > 0 {
		printf(", %d chunks are not what the manifest says", r.Contradict)
	}
	printf("\n\n%-44s %8s %9s %14s %14s %6s %6s %9s\n", "TRACK", "groups", "objects", "now", "newest", "torn", "damage", "latency")
	for _, tr := range p.sorted() {
		latency := "-"
		if tr.latency != nil {
			latency = fmt.Sprintf("%.1f s", tr.latency.Seconds())
		}
		printf("%-44s %8d %9d %14s %14d %6d %6d %9s\n", tr.name, tr.Groups, tr.Objects, rate(tr.Bytes-t.bytes[tr]), tr.Last, tr.Torn, tr.damaged, latency)
		t.bytes[tr] = tr.Bytes
	}
	if len(p.healths) > 0 {
		printf("\n")
	}
	for _, name := range slices.Sorted(maps.Keys(p.healths)) {
		printf("health of %s: %s\n", name, HealthText(p.healths[name]))
	}
	t.at, t.payload = now, r.Payload
	return b.String()
}

// maxHealths bounds the sources whose health a picture shows.
const maxHealths = 64

// sees takes what a picture shows of a chunk that is complete.
func (t *trackState) sees(g *group) {
	if g.UTC != nil && !g.began.IsZero() {
		late := g.began.Sub(g.UTC.Time)
		t.latency = &late
	}
	if g.Damage != nil {
		t.damaged++
	}
}

// healthOf keeps the newest entry of a source.
func (p *objects) healthOf(ns object.Namespace, h *catalog.Health) {
	if name := ns.String(); p.healths[name] != nil || len(p.healths) < maxHealths {
		p.healths[name] = h
	}
}
