package chop_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// chunkBytes is a sink that keeps the canonical stream chunk by chunk.
type chunkBytes struct {
	chop.TSWriter
	chunks [][]byte
	buf    bytes.Buffer
}

func (c *chunkBytes) WriteObject(t object.TrackName, o *object.Object) error {
	if err := c.TSWriter.WriteObject(t, o); err != nil {
		return err
	}
	if o.Status == object.EndOfGroup && c.buf.Len() > 0 {
		c.chunks = append(c.chunks, bytes.Clone(c.buf.Bytes()))
		c.buf.Reset()
	}
	return nil
}

// played is what a player that checks the stream finds in it.
type played struct {
	pmtPID, pcrPID ts.PID
	events         map[ts.PID]int // of continuity
	pcrs, pats     int
	changes, stale int           // of the PMT; of them, with the version before
	farPCR, farPAT time.Duration // greatest distances, by PCR
}

func play(t *testing.T, chunks [][]byte) played {
	t.Helper()
	p := played{events: map[ts.PID]int{}, pmtPID: ts.PIDNull, pcrPID: ts.PIDNull}
	var cont ts.Continuity
	var tables psi.Assembler
	var last, lastPAT clock.PCR
	var lastPMT []byte
	var lastVersion uint8
	pending := false // a PAT whose time is that of the next PCR
	for b := bytes.Join(chunks, nil); len(b) > 0; b = b[ts.PacketSize:] {
		k := (*ts.Packet)(b)
		if ev := cont.Check(k); ev != ts.Ok && ev != ts.Jump { // a jump is announced
			p.events[k.PID()]++
		}
		switch k.PID() {
		case ts.PIDNull:
			t.Fatal("a null packet")
		case ts.PIDPAT:
			p.pats++
			pending = true
		case p.pcrPID:
			v, ok := k.PCR()
			if !ok || k.HasPayload() {
				t.Fatal("a packet of the PCR's own PID is none")
			}
			now := clock.PCR(v)
			if p.pcrs++; p.pcrs > 1 && !k.Discontinuity() {
				p.farPCR = max(p.farPCR, now.Sub(last).Duration().Abs())
			}
			if k.Discontinuity() {
				lastPAT = now // how long ago it was, nothing tells
			}
			if pending {
				if p.pcrs > 1 {
					p.farPAT = max(p.farPAT, now.Sub(lastPAT).Duration())
				}
				lastPAT, pending = now, false
			}
			last = now
		}
		if k.PID() == ts.PIDPAT || k.PID() == p.pmtPID {
			tables.Feed(k, func(section []byte) {
				if pat, err := psi.ParsePAT(section); err == nil && k.PID() == ts.PIDPAT {
					p.pmtPID = pat.Programs[0].PID
				} else if pmt, err := psi.ParsePMT(section); err == nil {
					p.pcrPID = pmt.PCRPID
					version := pmt.Version
					pmt.Version = 0
					if now := pmt.Append(nil); lastPMT != nil && !bytes.Equal(now, lastPMT) {
						if p.changes++; version == lastVersion {
							p.stale++
						}
					} else if lastPMT != nil && version != lastVersion {
						t.Error("another version of the same PMT")
					}
					lastPMT, lastVersion = pmt.Append(nil), version
				}
			})
		}
	}
	return p
}

// TestCanonicalStreamPlays: chunks one behind another are a stream in which a player finds nothing wrong, whatever
// the broadcaster's habits; and where one is missing, only the elementary streams tell.
func TestCanonicalStreamPlays(t *testing.T) {
	for _, c := range []struct {
		channel string
		habits  []string
		part    time.Duration
		changes int // of the PMT
	}{
		{channel: "5.1"},
		{channel: "5.2"},
		{channel: "101"},
		{channel: "102"},
		{channel: "5.1", part: time.Second},
		{channel: "5.1", part: 2 * time.Second},
		{channel: "5.1", habits: []string{"pcr=needed", "pcr-every=100ms"}},
		{channel: "5.1", habits: []string{"pcr=none"}},
		{channel: "101", habits: []string{"still=3s"}},
		{channel: "5.1", habits: []string{"still=700ms"}, part: 20 * time.Millisecond},
		{channel: "5.1", habits: []string{"pes-size=3000"}},
		{channel: "101", habits: []string{"pes-units=5"}},
		{channel: "5.1", habits: []string{"duplicates=2", "disc-every"}},
		{channel: "5.1", habits: []string{"step=-4s/20s"}},
		{channel: "101", habits: []string{"splice"}},
		{channel: "5.1", habits: []string{"splice=-6s/20s/8s"}},
		{channel: "5.1", habits: []string{"restart=10s", "counters"}},
		{channel: "5.1", habits: []string{"still=1s", "step=-4s/10s"}},
		{channel: "5.1", habits: []string{"scte35", "second-audio", "silent-audio"}},
		{channel: "101", habits: []string{"subtitles", "teletext", "pmt-version"}},
		{channel: "5.1", habits: []string{"pmt-change=6s", "pmt-version=7s"}, changes: 4},
		{channel: "101", habits: []string{"radio"}},
		{channel: "5.1", habits: []string{"stuffing=bare", "stuffing=field", "tables-every=500ms"}},
	} {
		t.Run(fmt.Sprint(c.channel, c.habits, c.part), func(t *testing.T) {
			m, s := mux(t, c.channel)
			for _, h := range c.habits {
				if err := m.SetHabit(h); err != nil {
					t.Fatal(err)
				}
			}
			out := &chunkBytes{}
			w, err := chop.NewTSWriter(&out.buf, "all")
			if err != nil {
				t.Fatal(err)
			}
			out.TSWriter = *w
			if _, err := chop.Run(context.Background(), chop.Config{Part: c.part}, m.Reader(epoch, epoch.Add(30*time.Second), s.Program), out); err != nil {
				t.Fatal(err)
			}
			if len(out.chunks) < 8 {
				t.Fatalf("%d chunks", len(out.chunks))
			}
			p := play(t, out.chunks)
			if len(p.events) > 0 {
				t.Errorf("continuity: events by PID: %v", p.events)
			}
			if p.pcrs < 10*len(out.chunks) || p.farPCR > 100*time.Millisecond {
				t.Errorf("%d PCRs, up to %v apart", p.pcrs, p.farPCR)
			}
			if p.pats < 16*len(out.chunks) || p.pats%16 != 0 || p.farPAT > 400*time.Millisecond {
				t.Errorf("%d PATs in %d chunks, up to %v apart", p.pats, len(out.chunks), p.farPAT)
			}
			if p.changes != c.changes || p.stale > 0 {
				t.Errorf("the PMT changes %d times, %d of them unnoticed", p.changes, p.stale)
			}
			without := play(t, append(out.chunks[:3:3], out.chunks[4:]...))
			if without.events[ts.PIDPAT]+without.events[p.pmtPID]+without.events[p.pcrPID] > 0 || len(without.events) == 0 {
				t.Errorf("a chunk is missing: events by PID: %v", without.events)
			}
		})
	}
}
