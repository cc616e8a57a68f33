package chop_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// TestClockThatStops: PCRs stop and audio falls silent, as where a PMT moves the PCR PID to one that nobody sends. Chunks go out all the
// same, and are not held until the input ends.
func TestClockThatStops(t *testing.T) {
	const lasts, stops = 40 * time.Second, 15 * time.Second
	m, s := mux(t, "101")
	var at atomic.Int64 // a time.Duration; the input is read beside what is written
	var first uint64
	begun, pcrs := false, 0
	in := filtered(m.Reader(epoch, epoch.Add(lasts), s.Program), func(p *ts.Packet) bool {
		if pcr, ok := p.PCR(); ok {
			if !begun {
				begun, first = true, pcr
			}
			if at.Store(int64(pcr-first) * 1000 / 27); at.Load() > int64(stops) {
				pcrs++
				p.TakePCR()
			}
		}
		return at.Load() <= int64(stops) || p.PID() != s.PID+4
	})
	out := map[uint64]bool{} // groups of media that ended after the last PCR and before the end of the input
	sink := sinkFunc(func(track object.TrackName, o *object.Object) error {
		if now := time.Duration(at.Load()); now > stops && now < lasts-2*time.Second && o.Status == object.EndOfGroup && strings.HasPrefix(track.Name, "ts") {
			out[o.Group] = true
		}
		return nil
	})
	if _, err := chop.Run(t.Context(), chop.Config{Source: "test"}, in, sink); err != nil {
		t.Fatal(err)
	}
	if pcrs == 0 || len(out) < 8 {
		t.Errorf("%d PCRs were taken away, %d groups ended meanwhile; want some, and 8", pcrs, len(out))
	}
}
