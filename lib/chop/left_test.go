package chop_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// TestPIDThatLeft: the PMT no longer lists an audio PID on which packets go on. The first of them shows whether the chunks before lack
// packets, also if PCRs are expected on the PID. What is lost there later is another program's, and damages nothing.
func TestPIDThatLeft(t *testing.T) {
	const lasts = 40 * time.Second
	m, s := mux(t, "101")
	m.Habits.SecondAudio = true
	pid := s.PID + 5
	hear := func(clocked bool, lost func(at time.Duration, n int) bool) io.Reader {
		var at time.Duration
		var first uint64
		begun, n := false, 0
		return filtered(m.Reader(epoch, epoch.Add(lasts), s.Program), func(p *ts.Packet) bool {
			if pcr, ok := p.PCR(); ok {
				if !begun {
					begun, first = true, uint64(pcr)
				}
				at = time.Duration(uint64(pcr)-first) * 1000 / 27
			}
			switch p.PID() {
			case pid:
				n++
				return !lost(at, n)
			case s.PID:
				b := p.Payload()[1:]
				pmt, err := psi.ParsePMT(b[:3+int(b[1]&0x0f)<<8+int(b[2])])
				if err != nil {
					t.Fatal(err)
				}
				if clocked {
					pmt.PCRPID = pid
				}
				if at > 19*time.Second {
					pmt.Version ^= 1
					pmt.Streams = pmt.Streams[:len(pmt.Streams)-1]
				}
				cc := p.Continuity()
				copy(p[:], psi.AppendPackets(nil, s.PID, &cc, pmt.Append(nil)))
			}
			return true
		})
	}
	for _, clocked := range []bool{false, true} {
		whole := receive(t, chop.Config{}, hear(clocked, func(time.Duration, int) bool { return false }))
		if whole.stats.Promoted < 15 {
			t.Fatalf("clocked %v: %d chunks promoted", clocked, whole.stats.Promoted)
		}
		later := receive(t, chop.Config{}, hear(clocked, func(at time.Duration, n int) bool { return at > 23*time.Second && n%50 == 0 }))
		if n := agree(t, whole, later); n != len(whole.chunks) {
			t.Errorf("clocked %v: %d of %d chunks promoted, though the PID that lost packets had left", clocked, n, len(whole.chunks))
		}
		torn := receive(t, chop.Config{}, hear(clocked, func(at time.Duration, n int) bool { return at > 19300*time.Millisecond && at < 26*time.Second }))
		late := map[string]bool{}
		for _, e := range torn.manifest {
			key := fmt.Sprintf("%s %d", e.Track, e.Group)
			late[key] = late[key] || e.Late
		}
		lacking := 0
		for key, h := range torn.chunks {
			if h != whole.chunks[key] {
				lacking++
			}
			if late[key] != (h != whole.chunks[key]) {
				t.Errorf("clocked %v: %s lacks packets: %v, told late: %v", clocked, key, h != whole.chunks[key], late[key])
			}
		}
		if lacking == 0 || len(torn.chunks) != len(whole.chunks) {
			t.Errorf("clocked %v: %d of %d chunks promoted, %d lack packets; want all, and one", clocked, len(torn.chunks), len(whole.chunks), lacking)
		}
	}
}
