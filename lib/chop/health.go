package chop

import (
	"sync"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// Meter measures the stream that is cut, for the source's health track (docs/format/health.md). *probe.Meter is one. It is never used by two
// goroutines at a time.
type Meter interface {
	Packets(run []byte, stride int)   // whole packets, stride bytes from each one to the next
	Lost(e *ts.SyncError, stride int) // bytes that were no packets
	Elapsed() clock.Ticks27           // of the stream, by its PCR
	Health() catalog.Health           // what was measured up to now
}

// healthEvery is how often an entry of the health track is written: with the first chunk that ends so long after the entry before, by the stream's
// own time, or without one when so much time has passed on the wall.
const (
	healthEvery = 10 * second
	healthWall  = 10 * time.Second
)

// health is the meter between the cutter, which feeds it, and the emitter, which asks it while nothing comes. A nil *health measures nothing.
type health struct {
	mu    sync.Mutex // guards meter
	meter Meter

	fed  int           // of the cutter: how far into its run the meter has come
	told clock.Ticks27 // of the cutter: the stream's time at the last entry
	any  bool          // of the cutter: there was one
}

// feed gives the meter the packets of a run up to an offset.
func (h *health) feed(run []byte, to, stride int) {
	if h == nil || to <= h.fed {
		return
	}
	h.mu.Lock()
	h.meter.Packets(run[h.fed:to], stride)
	h.mu.Unlock()
	h.fed = to
}

func (h *health) lost(e *ts.SyncError, stride int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	h.meter.Lost(e, stride)
	h.mu.Unlock()
}

// due returns an entry if one is due with a chunk that ends here.
func (h *health) due() *catalog.Health {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.meter.Elapsed()
	if h.any && now-h.told < healthEvery {
		return nil
	}
	h.any, h.told = true, now
	entry := h.meter.Health()
	return &entry
}

// now returns an entry.
func (h *health) now() catalog.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meter.Health()
}

// told is what the emitter knows of the health track.
type healthLog struct {
	log
	last  time.Time // when an entry was written
	ended time.Time // when a chunk ended
	chunk bool      // one has
}

// tellHealth writes an entry that came with a chunk, whose bucket and broadcast time these are.
func (e *emitter) tellHealth(entry *catalog.Health, ch *chunkInfo) error {
	now := time.Now()
	e.health.ended, e.health.chunk = now, true
	if entry == nil {
		return nil
	}
	if ch.synced {
		utc := catalog.TimeOf(ch.utc.Time())
		entry.UTC = &utc
	}
	return e.writeHealth(entry, ch.bucket, now)
}

// idle writes an entry when no chunk has brought one for long, which is when a receiver has trouble.
func (e *emitter) idle(h *health, now time.Time) error {
	if h == nil || !e.health.chunk || now.Sub(e.health.last) < healthWall {
		return nil
	}
	entry := h.now()
	if silent := now.Sub(e.health.ended); silent >= healthWall {
		entry.Silent = float64(silent.Milliseconds()) / 1000
	}
	return e.writeHealth(&entry, int64(e.health.group), now)
}

// lastHealth writes an entry at the end of the input.
func (e *emitter) lastHealth(h *health) error {
	if h == nil || !e.health.chunk {
		return nil
	}
	entry := h.now()
	return e.writeHealth(&entry, int64(e.health.group), time.Now())
}

func (e *emitter) writeHealth(entry *catalog.Health, group int64, now time.Time) error {
	e.health.last = now
	s := e.stats
	entry.Chunks = catalog.ChunkSums{All: s.Chunks, Promoted: s.Promoted, Damaged: s.Damaged, Late: s.Late}
	if e.cfg.Tuner != nil {
		entry.Tuner = e.cfg.Tuner()
	}
	return e.record(&e.health.log, group, entry)
}
