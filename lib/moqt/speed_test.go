package moqt

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

var speedRounds = flag.Int("speed", 0, "rounds of TestSpeed; 0 skips it")

// TestSpeed compares sessions with plain quic-go streams: everything takes turns, one after the other in each round, and the
// table has medians. The ratios are medians of what each round gave against plain quic-go in the same round, so that a machine
// whose load changes does not favour one. Run it with scripts/bench moqt.
func TestSpeed(t *testing.T) {
	compare(t, comparison{"1→1", grounds, 1, 256 << 20}, comparison{"1→50", grounds, 50, 256 << 20},
		comparison{"1→1 over WebTransport", webGrounds, 1, 256 << 20})
}

// TestSpeedQMux compares sessions over QMux with a plain Unix socket, and with sessions over QUIC:
// scripts/bench moqt 7 TestSpeedQMux.
func TestSpeedQMux(t *testing.T) {
	compare(t, comparison{"1→1", qmuxGrounds, 1, 1 << 30})
}

// comparison is a table of measurements.
type comparison struct {
	title   string
	grounds []ground // the first one is what the others are compared with
	fan     int
	bytes   int // per measurement
}

func compare(t *testing.T, tables ...comparison) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench moqt runs it")
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d rounds, %d cores, load %s\n", *speedRounds, runtime.NumCPU(), strings.Join(strings.Fields(string(load))[:1], ""))
	for _, tt := range tables {
		t.Run(tt.title, func(t *testing.T) {
			out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintf(out, "%s\t\tMB/s\tratio\tCPU-s/GB\tratio\talloc B/B\t\n", tt.title)
			for _, s := range benchSizes {
				results := takeTurns(t, tt.grounds, s.size, tt.fan, tt.bytes, *speedRounds)
				for i, g := range tt.grounds {
					throughput := func(r speed) float64 { return r.throughput }
					cpu := func(r speed) float64 { return r.cpu }
					fmt.Fprintf(out, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.3f\t\n", s.name, g.name,
						medianOf(results[i], throughput), ratioOf(results[i], results[0], throughput),
						medianOf(results[i], cpu), ratioOf(results[i], results[0], cpu),
						medianOf(results[i], func(r speed) float64 { return r.allocated }))
				}
			}
			out.Flush()
		})
	}
}

// takeTurns measures every ground once a round, in the other direction every second round.
func takeTurns(t *testing.T, grounds []ground, size, fan, bytes, rounds int) [][]speed {
	n := max(bytes/size/fan, 5)
	results := make([][]speed, len(grounds))
	for round := range rounds {
		order := make([]int, len(grounds))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			ok := t.Run("", func(t *testing.T) { // closes its connections
				move := grounds[i].open(t, size, fan)
				if err := move(t.Context(), max(n/10, 1)); err != nil { // windows grow
					t.Fatal(err)
				}
				runtime.GC()
				r, err := measure(t.Context(), move, size, fan, n)
				if err != nil {
					t.Fatal(err)
				}
				results[i] = append(results[i], r)
			})
			if !ok {
				t.FailNow()
			}
		}
	}
	return results
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func medianOf(r []speed, f func(speed) float64) float64 {
	var v []float64
	for _, r := range r {
		v = append(v, f(r))
	}
	return median(v)
}

// ratioOf is the median of the ratios of each round.
func ratioOf(r, base []speed, f func(speed) float64) float64 {
	var v []float64
	for i := range r {
		v = append(v, f(r[i])/f(base[i]))
	}
	return median(v)
}
