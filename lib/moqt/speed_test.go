package moqt

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"every.channel/ec/lib/irohtest"
)

var speedRounds = flag.Int("speed", 0, "rounds of TestSpeed; 0 skips it")

// TestSpeed compares sessions with plain quic-go streams: everything takes turns, one after the other in each round, in every
// order equally often. The table has medians; the ratios are medians of what each round gave against plain quic-go in the same
// round, and behind them is where the true median is with 95 % confidence, as a shared machine gives now a quarter more,
// now less. Run it with scripts/bench moqt.
func TestSpeed(t *testing.T) {
	compare(t, comparison{"1→1", grounds, 1, 64 << 20}, comparison{"1→50", grounds, 50, 256 << 20},
		comparison{"1→1 over WebTransport", webGrounds, 1, 64 << 20})
}

// TestSpeedQMux compares sessions over QMux with a plain Unix socket, and with sessions over QUIC:
// scripts/bench moqt 7 TestSpeedQMux.
func TestSpeedQMux(t *testing.T) {
	compare(t, comparison{"1→1", qmuxGrounds, 1, 1 << 30})
}

// TestSpeedIroh compares sessions that ec-iroh carries between two Unix sockets with sessions over QUIC. Behind the CPU of this
// process is that of the publisher's and the subscriber's ec-iroh: scripts/bench moqt 7 TestSpeedIroh.
func TestSpeedIroh(t *testing.T) {
	irohtest.Path(t)
	compare(t, comparison{"1→1", irohGrounds, 1, 256 << 20})
}

// TestSpeedRepair compares sessions with the layer that makes good what a path loses, on a path that loses nothing, with sessions without
// it: scripts/bench moqt 15 TestSpeedRepair.
func TestSpeedRepair(t *testing.T) {
	compare(t, comparison{"1→1", repairGrounds, 1, 64 << 20}, comparison{"1→50", repairGrounds, 50, 256 << 20})
}

// comparison is a table of measurements.
type comparison struct {
	title   string
	grounds []ground // the first one is what the others are compared with
	fan     int
	bytes   int // per measurement, but fewestObjects are always moved
}

// fewestObjects to each subscriber: what a connection allocates once, windows full of packets above all, is then a small part.
const fewestObjects = 20

func compare(t *testing.T, tables ...comparison) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench moqt runs it")
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d rounds, %d cores, load %s\n", *speedRounds, runtime.NumCPU(), strings.Join(strings.Fields(string(load))[:1], ""))
	for _, tt := range tables {
		t.Run(tt.title, func(t *testing.T) {
			out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintf(out, "%s\t\tMB/s\tratio\t\tCPU-s/GB\tratio\t\tchildren\talloc B/B\t\n", tt.title)
			for _, s := range benchSizes {
				results := takeTurns(t, tt.grounds, s.size, tt.fan, tt.bytes, *speedRounds)
				for i, g := range tt.grounds {
					throughput := func(r speed) float64 { return r.throughput }
					cpu := func(r speed) float64 { return r.cpu }
					var children []string
					for k := range results[i][0].children {
						children = append(children, fmt.Sprintf("%.2f", medianOf(results[i], func(r speed) float64 { return r.children[k] })))
					}
					fmt.Fprintf(out, "%s\t%s\t%.0f\t%s\t%.2f\t%s\t%s\t%.3f\t\n", s.name, g.name,
						medianOf(results[i], throughput), ratioOf(results[i], results[0], throughput),
						medianOf(results[i], cpu), ratioOf(results[i], results[0], cpu), strings.Join(children, " "),
						medianOf(results[i], func(r speed) float64 { return r.allocated }))
				}
			}
			out.Flush()
		})
	}
}

// takeTurns measures every ground once a round, in each order in turn.
func takeTurns(t *testing.T, grounds []ground, size, fan, bytes, rounds int) [][]speed {
	n := max(bytes/size/fan, fewestObjects)
	results := make([][]speed, len(grounds))
	for round := range rounds {
		for _, i := range turn(len(grounds), round) {
			ok := t.Run("", func(t *testing.T) { // closes its connections
				move := grounds[i].open(t, size, fan)
				if err := move(t.Context(), max(n/10, 2)); err != nil { // windows grow
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

// turn is the order of n things in a round: each begins in turn, and everything runs backwards every n rounds.
func turn(n, round int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = (i + round) % n
	}
	if round/n%2 == 1 {
		slices.Reverse(order)
	}
	return order
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

// ratioOf is the median of the ratios of each round and the interval that holds the true one in 95 % of cases: of n values, the
// n/2 ± 0.98 √n smallest (binomial distribution).
func ratioOf(r, base []speed, f func(speed) float64) string {
	var v []float64
	for i := range r {
		v = append(v, f(r[i])/f(base[i]))
	}
	middle := median(v) // sorts
	d := 0.98 * math.Sqrt(float64(len(v)))
	low, high := int(float64(len(v))/2-d), int(math.Ceil(float64(len(v))/2+d))
	return fmt.Sprintf("%.2f\t%.2f–%.2f", middle, v[max(low, 0)], v[min(high, len(v)-1)])
}
