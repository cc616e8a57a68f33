package moqt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// urgentCases are an object of 16 KB every 5 ms alone, next to a track that fills the connection and has to stand back for it,
// and next to one of the same priority.
var urgentCases = []struct {
	name         string
	bulk         bool
	urgent, rest uint8 // priorities
}{{"alone", false, 0, 0}, {"before bulk", true, 0, 255}, {"equal to bulk", true, 128, 128}}

// urgent is what happened to the urgent track's objects.
type urgent struct {
	delays []time.Duration // from before the stream is opened until the object is read
	passed []int64         // bytes of the bulk track that arrived meanwhile
}

// measureUrgent sends n objects of 16 KB.
func measureUrgent(tb testing.TB, scheme string, v Version, bulk bool, urgentPriority, bulkPriority uint8, n int) urgent {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h, pubs := accepting(TrackInfo{})
	only := []Version{v}
	pair := dialedPair
	if scheme == "tcp" || scheme == "wss" {
		pair = qmuxPair
	}
	c, _ := pair(tb, scheme, &Config{Versions: only}, &Config{Versions: only, Handler: h})
	open := func(name string, priority uint8) (*Subscription, *Publication) {
		t := testTrack
		t.Name = name
		sub, err := c.Subscribe(ctx, t, SubscribeOptions{Priority: &priority})
		if err != nil {
			tb.Fatal(err)
		}
		return sub, recv(tb, pubs)
	}
	stop, cancelBulk := context.WithCancel(ctx)
	defer cancelBulk()
	var running sync.WaitGroup
	defer running.Wait()
	var arrived atomic.Int64
	if bulk {
		sub, p := open("bulk", bulkPriority)
		running.Go(func() {
			payload := make([]byte, 1<<20)
			for g := uint64(0); stop.Err() == nil; g += 10 {
				if sessionPublisher(stop, p, g, payload, 50) != nil {
					return
				}
			}
		})
		running.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				g, err := sub.AcceptSubgroup(stop)
				if err != nil {
					return
				}
				for err == nil {
					if _, err = g.Next(); err != nil {
						break
					}
					for err == nil {
						var n int
						n, err = g.Read(buf)
						arrived.Add(int64(n))
					}
					if err == io.EOF {
						err = nil
					}
				}
			}
		})
		defer func() {
			cancelBulk()
			p.Done(wire.DoneTrackEnded, "")
			sub.Unsubscribe()
		}()
		for arrived.Load() < 16<<20 && ctx.Err() == nil { // at full load
			time.Sleep(time.Millisecond)
		}
	}
	sub, p := open("urgent", urgentPriority)
	var u urgent
	payload := make([]byte, 16<<10)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		start, before := time.Now(), arrived.Load()
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: uint64(i)})
		if err != nil {
			tb.Fatal(err)
		}
		if err := errors.Join(w.WriteObject(0, nil, wire.StatusNormal, payload), w.Close()); err != nil {
			tb.Fatal(err)
		}
		g, err := sub.AcceptSubgroup(ctx)
		if err == nil {
			_, err = g.Next()
		}
		if err == nil {
			_, err = io.Copy(io.Discard, g)
		}
		if err != nil {
			tb.Fatal(err)
		}
		u.delays = append(u.delays, time.Since(start))
		u.passed = append(u.passed, arrived.Load()-before)
		g.Cancel(wire.ResetCancelled)
	}
	slices.Sort(u.delays)
	slices.Sort(u.passed)
	return u
}

// TestUrgentDelay prints how long urgent objects take next to a bulk track; TestUrgentGoesFirst is the test.
func TestUrgentDelay(t *testing.T) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench moqt runs it")
	}
	const n = 200
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "16 KB every 5 ms\tp50 ms\tp99 ms\tbulk KB that passed, p50\tp99\t\n")
	for _, scheme := range []string{"moqt", "https", "tcp", "wss"} {
		for _, v := range wire.Versions() {
			for _, tt := range urgentCases {
				var p50, p99, passed50, passed99 []float64
				for range *speedRounds {
					t.Run("", func(t *testing.T) {
						u := measureUrgent(t, scheme, v, tt.bulk, tt.urgent, tt.rest, n)
						p50 = append(p50, u.delays[n/2].Seconds()*1000)
						p99 = append(p99, u.delays[n*99/100].Seconds()*1000)
						passed50 = append(passed50, float64(u.passed[n/2])/1000)
						passed99 = append(passed99, float64(u.passed[n*99/100])/1000)
					})
				}
				if t.Failed() {
					return
				}
				fmt.Fprintf(out, "%s, %v, %s\t%.2f\t%.2f\t%.0f\t%.0f\t\n", scheme, v, tt.name, median(p50), median(p99), median(passed50), median(passed99))
			}
		}
	}
	out.Flush()
}

// TestUrgentGoesFirst: while an urgent object is under way, less of a bulk track arrives than while one of the same priority
// is: what is in flight already, but not what waits to be sent. Bytes are counted, not time; a busy machine gets another try.
func TestUrgentGoesFirst(t *testing.T) {
	const n = 60
	for _, scheme := range []string{"moqt", "https"} {
		for _, v := range wire.Versions() {
			t.Run(scheme+" "+v.String(), func(t *testing.T) {
				var tried []string
				for range 6 {
					passed := map[string]int64{}
					for _, tt := range urgentCases[1:] {
						t.Run(tt.name, func(t *testing.T) {
							passed[tt.name] = measureUrgent(t, scheme, v, tt.bulk, tt.urgent, tt.rest, n).passed[n/2]
						})
					}
					first, equal := passed["before bulk"], passed["equal to bulk"]
					if first < equal*2/3 {
						return
					}
					tried = append(tried, fmt.Sprintf("%d and %d", first, equal))
				}
				t.Errorf("bytes of the bulk track that arrived meanwhile: %v", tried)
			})
		}
	}
}
