package probe

import (
	"cmp"
	"slices"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
)

// Chunk is one group of a track.
type Chunk struct {
	V        int              `json:"v"`
	Type     string           `json:"type"` // "chunk"
	Name     string           `json:"name"` // written track name and group: ec-atsc-2065-3--ts_t13 980000000
	Track    object.TrackName `json:"track"`
	Group    uint64           `json:"group"`
	Objects  int              `json:"objects"`
	Bytes    int64            `json:"bytes"`          // of payloads
	Hash     *object.Hash     `json:"hash,omitempty"` // of the parts' hashes, docs/format/catalog.md
	Whole    bool             `json:"whole"`          // an end of group was seen and nothing before it is missing
	Missing  int64            `json:"missing,omitempty"`
	PTS      *uint64          `json:"pts,omitempty"`
	Duration uint64           `json:"duration,omitempty"` // 90 kHz
	UTC      *catalog.Time    `json:"utc,omitempty"`      // as the source's manifest or timeline in the stream says
	Jump     bool             `json:"discontinuity,omitempty"`
	Reason   string           `json:"reason,omitempty"`   // why not promoted
	Promoted int              `json:"promoted,omitempty"` // parts before the first that went out under the broadcast's name
	Damage   *catalog.Damage  `json:"damage,omitempty"`
	Verified *bool            `json:"verified,omitempty"` // with --verify: every hash is right
}

type group struct {
	Chunk
	parts  []part
	ended  bool
	end    uint64                 // the id an end of group carries
	hashes bool                   // every object had one
	bad    bool                   // one of them is wrong
	entry  *catalog.ManifestEntry // what the manifest says
	began  time.Time              // when the first object came
}

type part struct {
	id   uint64
	hash object.Hash
}

// seal computes what follows from all parts.
func (g *group) seal() {
	slices.SortFunc(g.parts, func(a, b part) int { return cmp.Compare(a.id, b.id) })
	n := len(g.parts)
	if n > 0 {
		g.Missing = int64(g.parts[n-1].id) + 1 - int64(n)
		if g.ended && g.end > g.parts[n-1].id {
			g.Missing = int64(g.end) - int64(n)
		}
	} else if g.ended {
		g.Missing = int64(g.end)
	}
	g.Whole = g.ended && g.Missing == 0
	if g.hashes && n > 0 {
		h := make([]object.Hash, n)
		for i := range h {
			h[i] = g.parts[i].hash
		}
		sum := catalog.HashParts(h)
		g.Hash = &sum
	}
	g.parts = nil
}

// compare adds what the manifest knows and checks that it speaks of what is here. Of a chunk whose first
// parts were promoted (docs/format/chunk.md) it knows all parts, of which this group holds the rest.
func (p *objects) compare(g *group) {
	e := g.entry
	if e == nil {
		return
	}
	if e.UTC != nil {
		g.UTC = e.UTC
	}
	g.Reason, g.Damage = e.Reason, e.Damage
	if g.PTS == nil {
		g.PTS = &e.PTS
	}
	if e.Scope == catalog.ScopeSource && e.Promoted > 0 {
		g.Promoted = e.Promoted
		g.Missing = max(0, g.Missing-int64(e.Promoted))
		g.Whole = g.ended && g.Missing == 0
		g.Hash = nil // of a part of the chunk; the manifest has that of the whole
		return
	}
	if g.Objects != e.Objects || g.Bytes != e.Bytes || g.Hash != nil && *g.Hash != e.Hash {
		p.rep.Contradict++
		p.cfg.Log.Warn("chunk is not what the manifest says", "chunk", g.Name)
	}
}

// damage prints what was wrong with a chunk.
func (p *objects) damage(d *catalog.Damage) {
	if d != nil {
		p.out.printf("  tei %d cc %d scrambled %d sync %d psi %d clock %d", d.TEI, d.Continuity, d.Scrambled, d.Sync, d.PSI, d.Clock)
	}
}

func (p *objects) print(g *group) {
	p.compare(g)
	t := p.tracks[g.Track.String()]
	if !g.Whole {
		t.Torn++
	}
	t.sees(g)
	if p.cfg.JSON {
		p.out.put(g.Chunk)
		return
	}
	o := p.out
	o.printf("%s  %d objects, %d bytes", g.Name, g.Objects, g.Bytes)
	if g.Hash != nil {
		o.printf("  %.16s", g.Hash)
	}
	if g.PTS != nil {
		o.printf("  PTS %d", *g.PTS)
	}
	if g.Duration > 0 {
		o.printf(" %.3f s", clock.Ticks(g.Duration).Duration().Seconds())
	}
	if g.UTC != nil {
		o.printf("  UTC %s", g.UTC.Format("2006-01-02 15:04:05.000"))
	}
	if g.Jump {
		o.printf("  discontinuity")
	}
	if g.Missing > 0 {
		o.printf("  %d objects missing", g.Missing)
	}
	if !g.Whole && g.Missing == 0 {
		o.printf("  no end")
	}
	if g.Promoted > 0 {
		o.printf("  %d parts before went out under the broadcast's name", g.Promoted)
	}
	if g.Reason != "" {
		o.printf("  %s", g.Reason)
	}
	p.damage(g.Damage)
	if g.Verified != nil {
		if *g.Verified {
			o.printf("  verified")
		} else {
			o.printf("  DOES NOT VERIFY")
		}
	}
	o.printf("\n")
}
