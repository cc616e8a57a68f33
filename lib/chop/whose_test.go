package chop_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// TestOtherTransportStream: on a channel comes another transport stream than before, as PAT and then SDT or VCT tell. A receiver that
// lost SDT or VCT there gives no chunk the old broadcast's name that others give the new one's.
func TestOtherTransportStream(t *testing.T) {
	at := epoch.Add(10 * time.Second)
	for number, si := range map[string]ts.PID{"5.1": ts.PIDPSIP, "101": ts.PIDSDT} {
		m, s := mux(t, number)
		other, _ := mux(t, number)
		other.TSID += 7
		hear := func(lost time.Duration) io.Reader {
			deaf := filtered(other.Reader(at, at.Add(lost), s.Program), func(p *ts.Packet) bool { return p.PID() != si })
			return io.MultiReader(m.Reader(epoch, at, s.Program), deaf, other.Reader(at.Add(lost), at.Add(20*time.Second), s.Program))
		}
		owners := map[int64]string{} // of each bucket
		own := func(r *result) (broadcasts map[string]int) {
			broadcasts = map[string]int{}
			for key := range r.chunks {
				var group uint64
				name, id, _ := strings.Cut(key, " ")
				fmt.Sscan(id, &group)
				name, _, _ = strings.Cut(name, "--")
				broadcasts[name]++
				if was, ok := owners[clock.GroupBucket(group)]; ok && was != name {
					t.Errorf("%s: the chunk %d is of %s and of %s", number, group, was, name)
				}
				owners[clock.GroupBucket(group)] = name
			}
			return broadcasts
		}
		for _, lost := range []time.Duration{0, 3 * time.Second, 7 * time.Second} {
			all := own(receive(t, chop.Config{}, hear(lost)))
			if len(all) != 2 {
				t.Errorf("%s: %v: want chunks of both broadcasts", number, all)
			}
			for name, n := range all {
				if n < 3 {
					t.Errorf("%s: %d chunks of %s", number, n, name)
				}
			}
		}
	}
}
