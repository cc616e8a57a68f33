package repair

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var (
	labRate  = flag.Int("lab-rate", 8_000_000, "bits a second in TestTable")
	labRTT   = flag.Int("lab-rtt", 0, "only this round trip, in ms")
	labSeeds = flag.Int("lab-seeds", 1, "how many runs of each row")
	labLast  = flag.Duration("lab-last", 0, "how long each row of TestTable lasts; 0 skips it")
)

// TestTable measures a programme on paths of every kind, with the layer and without.
func TestTable(t *testing.T) {
	if *labLast == 0 {
		t.Skip("a measurement: -lab-last 20s")
	}
	for _, rtt := range []time.Duration{40 * time.Millisecond, 200 * time.Millisecond} {
		if *labRTT != 0 && rtt != time.Duration(*labRTT)*time.Millisecond {
			continue
		}
		for _, w := range []way{{}, {loss: 0.001}, {loss: 0.01}, {loss: 0.03}, {loss: 0.05}, {loss: 0.1}, {loss: 0.05, burst: 4}, {loss: 0.2, burst: 4}, {reorder: 0.25}} {
			w.delay = rtt / 2
			for _, layer := range []bool{false, true} {
				var all outcome
				var cost float64
				for seed := range *labSeeds {
					t.Run("", func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							o, c := row(t, w, layer, uint64(seed))
							all, cost = append(all, o...), cost+c/float64(*labSeeds)
						})
					})
				}
				fmt.Printf("rtt %3d loss %5.3f burst %.0f reorder %.2f layer %5v: %v, %.2f × bytes\n", rtt.Milliseconds(), w.loss, max(w.burst, 1), w.reorder, layer, all, cost)
			}
		}
	}
}

// row is one programme on one path, without its first seconds, and how many bytes were sent for each of its own.
func row(t *testing.T, w way, layer bool, seed uint64) (outcome, float64) {
	up, down := w, w
	l := newLab(t, &up, &down, seed)
	server, client := newEnd(t, l, 1, layer, Options{Accept: true}), newEnd(t, l, 2, layer, Options{})
	began := time.Now()
	c, s := connect(t, client, server)
	if layer && (c.ConnectionStats().PacketsLost > 0 || time.Since(began) > 5*w.delay+50*time.Millisecond) { // as lib/moqt/transport does
		c.CloseWithError(0, "")
		c, s = reconnect(t, client, server)
	}
	defer c.CloseWithError(0, "")
	time.Sleep(2 * w.delay) // MoQ's setup
	o := broadcast(t, c, s, programme{*labRate, 100_000, *labLast})
	if layer && testing.Verbose() {
		q := c.ConnectionStats()
		fmt.Printf("    %v %+v %+v cwnd %d lost %d\n", o, client.layer.Stats(c.RemoteAddr()), server.layer.Stats(s.RemoteAddr()), q.CongestionWindow, q.PacketsLost)
	}
	synctest.Wait()
	every := float64(100_000*8) / float64(*labRate)
	return o[int(3/every):], float64(up.bytes) / float64(len(o)*100_000)
}
