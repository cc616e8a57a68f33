package relay

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

var speedRounds = flag.Int("speed", 0, "rounds of TestSpeed and TestAddedDelay; 0 skips them")

// perGroup is how many objects share a stream and a file: ten parts of 200 ms are a group of 2 s, and with 4 MiB it has 16 Mbit/s.
func perGroup(size int) int { return max(10, 4<<20/size) }

// way is a way from one publisher to fan subscribers over something in between, all in this process.
type way struct {
	name string
	// open connects them. publish sends a group of objects of size bytes, subscribe[i] reads one.
	open func(t testing.TB, size, fan int) (publish func(ctx context.Context, group uint64) error, subscribe []func(ctx context.Context) error)
}

var ways = []way{{"plain forwarder", openForwarder}, {"relay", openRelay}}

// TestSpeed compares the relay, which stores and verifies, with a forwarder of plain quic-go streams, which reads and writes: as many
// connections, the same windows, groups and objects, and no subscriber more than two groups behind. Both take turns. CPU and memory
// are those of all three sides together, per byte that subscribers got: with one subscriber, of two ways. Ratios are medians of those
// of each round. Run it with scripts/bench relay.
func TestSpeed(t *testing.T) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench relay runs it")
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d rounds, %d cores, load %s\n", *speedRounds, runtime.NumCPU(), strings.Fields(string(load))[0])
	for _, fan := range []int{1, 50} {
		out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(out, "1→%d\t\tMB/s\tratio\tCPU-s/GB\tratio\talloc B/B\t\n", fan)
		for _, size := range []int{64 << 10, 256 << 10, 1 << 20} {
			results := make([][]cost, len(ways))
			for round := range *speedRounds {
				for i := range ways {
					i = (i + round) % len(ways)
					t.Run("", func(t *testing.T) {
						results[i] = append(results[i], measure(t, ways[i], size, fan, 256<<20*int64(min(fan, 4))))
					})
				}
			}
			for i, w := range ways {
				value := func(f func(cost) float64) (value, ratio float64) {
					var values, ratios []float64
					for n, r := range results[i] {
						values, ratios = append(values, f(r)), append(ratios, f(r)/f(results[0][n]))
					}
					return median(values), median(ratios)
				}
				speed, speedRatio := value(func(c cost) float64 { return c.speed })
				cpu, cpuRatio := value(func(c cost) float64 { return c.cpu })
				allocated, _ := value(func(c cost) float64 { return c.allocated })
				fmt.Fprintf(out, "%d KiB\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.3f\t\n", size>>10, w.name, speed, speedRatio, cpu, cpuRatio, allocated)
			}
		}
		out.Flush()
	}
}

// BenchmarkRelay is for profiles.
func BenchmarkRelay(b *testing.B) {
	for _, w := range ways {
		for _, fan := range []int{1, 50} {
			for _, size := range []int{64 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%s/1to%d/%dKiB", w.name, fan, size>>10), func(b *testing.B) {
					c := measure(b, w, size, fan, int64(b.N)*int64(size*fan*perGroup(size)))
					b.ReportMetric(c.speed, "MB/s")
					b.ReportMetric(c.cpu, "cpu-s/GB")
					b.ReportMetric(c.allocated, "alloc-B/B")
				})
			}
		}
	}
}

// cost is what a byte at a subscriber costs.
type cost struct{ speed, cpu, allocated float64 } // MB/s, s/GB, bytes

func measure(t testing.TB, w way, size, fan int, bytes int64) (c cost) {
	publish, subscribe := w.open(t, size, fan)
	groups := max(bytes/int64(size*fan*perGroup(size)), 4)
	ctx := within(t, 5*time.Minute)
	group := uint64(0)
	move := func(n int64) {
		g, ctx := errgroup.WithContext(ctx)
		done := make([]chan struct{}, len(subscribe)) // the subscribers' groups that the publisher has not taken note of
		for i, f := range subscribe {
			done[i] = make(chan struct{}, n)
			g.Go(func() error {
				for range n {
					if err := f(ctx); err != nil {
						return fmt.Errorf("subscriber %d: %w", i, err)
					}
					done[i] <- struct{}{}
				}
				return nil
			})
		}
		g.Go(func() error {
			for i := range n {
				if i >= 2 {
					for _, d := range done {
						select {
						case <-d:
						case <-ctx.Done():
							return ctx.Err()
						}
					}
				}
				if err := publish(ctx, group); err != nil {
					return err
				}
				group++
			}
			return nil
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	move(max(groups/5, 2)) // windows grow
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	move(groups)
	took := time.Since(began)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	total := float64(groups) * float64(perGroup(size)*size) * float64(fan)
	return cost{total / 1e6 / took.Seconds(), cpu.Seconds() / total * 1e9, float64(after.TotalAlloc-before.TotalAlloc) / total}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func openRelay(t testing.TB, size, fan int) (publish func(context.Context, uint64) error, subscribe []func(context.Context) error) {
	// Less of the cache than usual, so that memory is used again from early on.
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{CacheBytes: 32 << 20}, store.Config{MaxBytes: 1 << 30})
	p := s.publisher(t, ts)
	payload := make([]byte, size)
	properties := object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
	for range fan {
		sub, err := s.dial(t, nil).Subscribe(within(t, time.Minute), ts, from(0))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, size)
		subscribe = append(subscribe, func(ctx context.Context) error {
			r, err := sub.AcceptSubgroup(ctx)
			for err == nil {
				var h moqt.ObjectHeader
				if h, err = r.Next(); err == nil {
					_, err = io.ReadFull(r, buf[:h.Size])
				}
			}
			if err == io.EOF {
				return nil
			}
			return err
		})
	}
	return func(ctx context.Context, group uint64) error {
		w, err := p.pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: group, HasProperties: true, EndOfGroup: true})
		for id := uint64(0); err == nil && id < uint64(perGroup(size)); id++ {
			err = w.WriteObject(id, properties, 0, payload)
		}
		if err != nil {
			return err
		}
		return w.Close()
	}, subscribe
}

// openForwarder: the first connection's streams are copied to all others, by a goroutine for each that is at most 16 pieces behind.
func openForwarder(t testing.TB, size, fan int) (publish func(context.Context, uint64) error, subscribe []func(context.Context) error) {
	cert, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	qc := &quic.Config{ // those of lib/moqt
		InitialStreamReceiveWindow: 1 << 20, MaxStreamReceiveWindow: 8 << 20, InitialConnectionReceiveWindow: 4 << 20, MaxConnectionReceiveWindow: 32 << 20,
		MaxIncomingUniStreams: 1024, EnableDatagrams: true,
	}
	tc := moqt.ServerTLS(cert)
	tc.NextProtos = []string{"plain"}
	l, err := quic.ListenAddr("127.0.0.1:0", tc, qc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var in, out []*quic.Conn
	for range fan + 1 {
		c, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: tc.NextProtos}, qc)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		in, out = append(in, c), append(out, s)
	}
	t.Cleanup(func() {
		cancel()
		for i := range in {
			in[i].CloseWithError(0, "")
			out[i].CloseWithError(0, "")
		}
		running.Wait()
		l.Close()
	})
	running.Go(func() { forward(ctx, out[0], out[1:]) })
	for _, c := range in[1:] {
		buf := make([]byte, size)
		subscribe = append(subscribe, func(ctx context.Context) error {
			st, err := c.AcceptUniStream(ctx)
			for err == nil {
				if _, err = io.ReadFull(st, buf[:8]); err == nil {
					_, err = io.ReadFull(st, buf[:binary.BigEndian.Uint64(buf)])
				}
			}
			if err == io.EOF {
				return nil
			}
			return err
		})
	}
	msg := make([]byte, 8+size)
	binary.BigEndian.PutUint64(msg, uint64(size))
	return func(ctx context.Context, _ uint64) error {
		st, err := in[0].OpenUniStreamSync(ctx)
		for i := 0; err == nil && i < perGroup(size); i++ {
			_, err = st.Write(msg)
		}
		if err != nil {
			return err
		}
		return st.Close()
	}, subscribe
}

// chunk is what the forwarder reads at once.
type chunk struct {
	b    []byte
	n    int
	left atomic.Int32
}

func forward(ctx context.Context, from *quic.Conn, to []*quic.Conn) {
	pool := sync.Pool{New: func() any { return &chunk{b: make([]byte, 64<<10)} }}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		st, err := from.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		queues := make([]chan *chunk, len(to))
		for i, c := range to {
			queues[i] = make(chan *chunk, 16)
			running.Go(func() {
				w, err := c.OpenUniStreamSync(ctx)
				for p := range queues[i] {
					if err == nil {
						_, err = w.Write(p.b[:p.n])
					}
					if p.left.Add(-1) == 0 {
						pool.Put(p)
					}
				}
				if err == nil {
					w.Close()
				}
			})
		}
		running.Go(func() {
			for err == nil {
				p := pool.Get().(*chunk)
				p.n, err = st.Read(p.b)
				p.left.Store(int32(len(queues)))
				for _, q := range queues {
					q <- p
				}
			}
			for _, q := range queues {
				close(q)
			}
		})
	}
}

// TestAddedDelay sends an object of 64 KiB every 20 ms directly to a subscriber, and another one half way between to one behind the relay,
// which stores it, and compares how long they take until the last byte is there. Run it with scripts/bench relay.
func TestAddedDelay(t *testing.T) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench relay runs it")
	}
	const objects, perGroup = 250, 10 // 5 s
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{}, store.Config{MaxBytes: 1 << 30})
	through := s.publisher(t, ts)
	payload := make([]byte, 64<<10)
	properties := object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
	u := &announcer{track: ts, pubs: make(chan *moqt.Publication, 1)}
	cert, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	l, err := moqt.Listen("127.0.0.1:0", moqt.ServerTLS(cert), &moqt.Config{Handler: u})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { running.Wait(); l.Close() })
	running.Go(func() {
		if ms, err := l.Accept(within(t, time.Minute)); err == nil {
			ms.Run(context.Background())
		}
	})
	pin, err := moqt.PinFingerprint(moqt.Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	near := (&server{addr: l.Addr().String(), tls: pin}).dial(t, nil)
	pubs := make([]*moqt.Publication, 2)
	subs := make([]*moqt.Subscription, 2)
	for i, c := range []*client{near, s.dial(t, nil)} {
		if subs[i], err = c.Subscribe(within(t, time.Minute), ts, from(0)); err != nil {
			t.Fatal(err)
		}
	}
	pubs[0], pubs[1] = <-u.pubs, through.pub
	ctx := within(t, time.Duration(*speedRounds+1)*time.Minute)
	var p50s, p99s [3][]float64 // direct, through the relay, difference
	for round := range *speedRounds {
		var sent [2][objects]atomic.Int64
		var delays [2][]float64
		var reading errgroup.Group
		for way, sub := range subs {
			reading.Go(func() error {
				buf := make([]byte, len(payload))
				for len(delays[way]) < objects {
					r, err := sub.AcceptSubgroup(ctx)
					for err == nil {
						var h moqt.ObjectHeader
						if h, err = r.Next(); err == nil && h.Size > 0 {
							_, err = io.ReadFull(r, buf[:h.Size])
							delays[way] = append(delays[way], float64(time.Now().UnixNano()-sent[way][len(delays[way])].Load())/1e6)
						}
					}
					if err != io.EOF {
						return err
					}
				}
				return nil
			})
		}
		tick := time.NewTicker(10 * time.Millisecond)
		var w [2]*moqt.SubgroupWriter
		for i := range 2 * objects {
			<-tick.C
			way, n := i%2, i/2
			if n%perGroup == 0 {
				group := uint64(round*objects/perGroup + n/perGroup)
				if w[way], err = pubs[way].OpenSubgroup(ctx, moqt.SubgroupHeader{Group: group, HasProperties: true, EndOfGroup: true}); err != nil {
					t.Fatal(err)
				}
			}
			sent[way][n].Store(time.Now().UnixNano())
			err := w[way].WriteObject(uint64(n%perGroup), properties, 0, payload)
			if err == nil && n%perGroup == perGroup-1 {
				err = w[way].Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		tick.Stop()
		if err := reading.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, d := range delays {
			slices.Sort(d)
		}
		for i, p := range []*[3][]float64{&p50s, &p99s} {
			at := []int{objects / 2, objects * 99 / 100}[i]
			direct, relayed := delays[0][at], delays[1][at]
			p[0], p[1], p[2] = append(p[0], direct), append(p[1], relayed), append(p[2], relayed-direct)
		}
	}
	fmt.Printf("64 KiB every 20 ms, %d rounds of %d, ms: direct p50 %.2f p99 %.2f; through the relay p50 %.2f p99 %.2f; added p50 %.2f p99 %.2f\n",
		*speedRounds, objects, median(p50s[0]), median(p99s[0]), median(p50s[1]), median(p99s[1]), median(p50s[2]), median(p99s[2]))
}
