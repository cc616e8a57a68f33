package moqt

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/moqt/wire"
)

// objectsPerGroup is how many objects share a stream in the benchmarks: a group of 2 s in parts of 200 ms.
const objectsPerGroup = 10

var benchSizes = []struct {
	name string
	size int
}{{"64KiB", 64 << 10}, {"256KiB", 256 << 10}, {"1MiB", 1 << 20}}

// ground is a way to move objects from a publisher to subscribers in one process: plain quic-go streams with a length before
// each object, or sessions. All have the same QUIC configuration.
type ground struct {
	name string
	// open connects fan subscribers. move then sends n objects of size bytes to each of them and returns when all have arrived.
	open func(tb testing.TB, size, fan int) (move func(ctx context.Context, n int) error)
}

var (
	plainQUIC = ground{"quic", openPlain}
	grounds   = []ground{
		plainQUIC, {"moqt-16", openSessions("moqt", wire.Draft16)}, {"moqt-18", openSessions("moqt", wire.Draft18)},
	}
	qmuxGrounds = []ground{
		{"unix socket", openSocket}, {"moqt-18 on unix", openSessions("unix", wire.Draft18)}, {"moqt-18 on tcp", openSessions("tcp", wire.Draft18)},
		{"moqt-18 on ws", openSessions("ws", wire.Draft18)}, {"moqt-18 on QUIC", openSessions("moqt", wire.Draft18)},
	}
	irohGrounds = append([]ground{
		{"moqt-18 on QUIC", openSessions("moqt", wire.Draft18)}, {"moqt-18 over iroh", openSessions("iroh", wire.Draft18)},
	}, otherIroh()...)
	repairGrounds = []ground{
		{"moqt-18, repair off", openWith("moqt", Config{Versions: []Version{wire.Draft18}, NoRepair: true})},
		{"moqt-18, repair auto", openSessions("moqt", wire.Draft18)},
	}
	webGrounds = []ground{
		plainQUIC, {"moqt-16 on h3", openSessions("https", wire.Draft16)}, {"moqt-18 on h3", openSessions("https", wire.Draft18)},
	}
)

// otherIroh are other builds of ec-iroh to compare with that of EC_IROH: EC_IROH_OTHERS has their paths, with colons between.
func otherIroh() (others []ground) {
	for _, path := range filepath.SplitList(os.Getenv("EC_IROH_OTHERS")) {
		others = append(others, ground{"over " + path, openSessions("iroh "+path, wire.Draft18)})
	}
	return others
}

// BenchmarkOneToOne and BenchmarkOneToFifty are for profiles; to compare, use scripts/bench moqt, which takes turns.
func BenchmarkOneToOne(b *testing.B)   { benchGrounds(b, 1) }
func BenchmarkOneToFifty(b *testing.B) { benchGrounds(b, 50) }

func benchGrounds(b *testing.B, fan int) {
	for _, s := range benchSizes {
		for _, g := range grounds {
			b.Run(s.name+"/"+g.name, func(b *testing.B) {
				move := g.open(b, s.size, fan)
				b.SetBytes(int64(s.size * fan))
				b.ResetTimer()
				m, err := measure(b.Context(), move, s.size, fan, b.N)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(m.cpu, "cpu-s/GB")
				b.ReportMetric(m.allocated, "alloc-B/B")
			})
		}
	}
}

// speed is what moving objects costs.
type speed struct {
	throughput float64   // MB/s
	cpu        float64   // seconds per GB, of this process
	children   []float64 // the same of each process that it started and that still runs, the oldest first
	allocated  float64   // bytes per byte
}

func measure(ctx context.Context, move func(context.Context, int) error, size, fan, n int) (speed, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	children := childrenTimes()
	cpu, start := cpuTime(), time.Now()
	if err := move(ctx, n); err != nil {
		return speed{}, err
	}
	took := time.Since(start)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	total := float64(size) * float64(fan) * float64(n)
	r := speed{
		throughput: total / 1e6 / took.Seconds(), cpu: cpu.Seconds() / (total / 1e9),
		allocated: float64(after.TotalAlloc-before.TotalAlloc) / total,
	}
	for i, t := range childrenTimes() {
		if i < len(children) {
			r.children = append(r.children, (t-children[i]).Seconds()/(total/1e9))
		}
	}
	return r, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// childrenTimes is what each process that this one started and that still runs has computed, the oldest first; nothing where Linux does
// not tell.
func childrenTimes() (times []time.Duration) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	var ids []int
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may have ended
		for _, id := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(id); err == nil {
				ids = append(ids, n)
			}
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", id))
		var sum time.Duration
		for _, thread := range threads {
			b, _ := os.ReadFile(thread)
			ns, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			sum += time.Duration(n)
		}
		times = append(times, sum)
	}
	return times
}

// serve accepts fan connections with accept while dial makes them, one after the other, and returns the pairs.
func pairs[C, S any](tb testing.TB, fan int, dial func(context.Context) (C, error), accept func(context.Context) (S, error)) (cs []C, ss []S) {
	ctx := testContext(tb)
	var g errgroup.Group
	g.Go(func() error {
		for range fan {
			s, err := accept(ctx)
			if err != nil {
				return err
			}
			ss = append(ss, s)
		}
		return nil
	})
	for range fan {
		c, err := dial(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		cs = append(cs, c)
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
	return cs, ss
}

// both runs a publisher and a subscriber for each of fan connections.
func both(ctx context.Context, fan int, publish, subscribe func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range fan {
		g.Go(func() error { return publish(ctx, i) })
		g.Go(func() error { return subscribe(ctx, i) })
	}
	return g.Wait()
}

// readBuffers are what fan subscribers read objects into. They are made once, so that the measured allocation is the transport's.
func readBuffers(size, fan int) [][]byte {
	bufs := make([][]byte, fan)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	return bufs
}

// openSocket moves the same bytes over a Unix socket, a write and a read for each object.
func openSocket(tb testing.TB, size, fan int) func(context.Context, int) error {
	l, err := net.Listen("unix", filepath.Join(tb.TempDir(), "s"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	clients, servers := pairs(tb, fan,
		func(ctx context.Context) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) },
		func(context.Context) (net.Conn, error) { return l.Accept() })
	tb.Cleanup(func() {
		for i := range clients {
			clients[i].Close()
			servers[i].Close()
		}
	})
	payload, bufs := make([]byte, size), readBuffers(size, fan)
	return func(ctx context.Context, n int) error {
		return both(ctx, fan,
			func(_ context.Context, i int) (err error) {
				for k := 0; k < n && err == nil; k++ {
					_, err = servers[i].Write(payload)
				}
				return err
			},
			func(_ context.Context, i int) (err error) {
				for k := 0; k < n && err == nil; k++ {
					_, err = io.ReadFull(clients[i], bufs[i])
				}
				return err
			})
	}
}

func openPlain(tb testing.TB, size, fan int) func(context.Context, int) error {
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		tb.Fatal(err)
	}
	// As package transport has it by default.
	qc := &quic.Config{
		MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 10 * time.Second, EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
		InitialStreamReceiveWindow: 1 << 20, MaxStreamReceiveWindow: 8 << 20,
		InitialConnectionReceiveWindow: 4 << 20, MaxConnectionReceiveWindow: 32 << 20,
		MaxIncomingStreams: 1024, MaxIncomingUniStreams: 1025,
	}
	tc := ServerTLS(cert)
	tc.NextProtos = []string{"plain"}
	l, err := quic.ListenAddr("127.0.0.1:0", tc, qc)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	clients, servers := pairs(tb, fan, func(ctx context.Context) (*quic.Conn, error) {
		return quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"plain"}}, qc)
	}, l.Accept)
	tb.Cleanup(func() {
		for i := range clients {
			clients[i].CloseWithError(0, "")
			servers[i].CloseWithError(0, "")
		}
	})
	msg := make([]byte, 8+size)
	binary.BigEndian.PutUint64(msg, uint64(size))
	bufs := readBuffers(size, fan)
	return func(ctx context.Context, n int) error {
		return both(ctx, fan,
			func(ctx context.Context, i int) error { return plainPublisher(ctx, servers[i], msg, n) },
			func(ctx context.Context, i int) error {
				return plainSubscriber(ctx, clients[i], bufs[i], n)
			})
	}
}

func plainPublisher(ctx context.Context, c *quic.Conn, msg []byte, n int) error {
	for n > 0 {
		st, err := c.OpenUniStreamSync(ctx)
		if err != nil {
			return err
		}
		for range min(n, objectsPerGroup) {
			if _, err := st.Write(msg); err != nil {
				return err
			}
			n--
		}
		if err := st.Close(); err != nil {
			return err
		}
	}
	return nil
}

func plainSubscriber(ctx context.Context, c *quic.Conn, buf []byte, n int) error {
	var head [8]byte
	for n > 0 {
		st, err := c.AcceptUniStream(ctx)
		if err != nil {
			return err
		}
		for {
			if _, err := io.ReadFull(st, head[:]); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			if _, err := io.ReadFull(st, buf[:binary.BigEndian.Uint64(head[:])]); err != nil {
				return err
			}
			n--
		}
	}
	return nil
}

func openSessions(scheme string, v Version) func(tb testing.TB, size, fan int) func(context.Context, int) error {
	return openWith(scheme, Config{Versions: []Version{v}})
}

// openWith is openSessions with a configuration of both ends.
func openWith(scheme string, ends Config) func(tb testing.TB, size, fan int) func(context.Context, int) error {
	return func(tb testing.TB, size, fan int) func(context.Context, int) error {
		pubs := make(chan *Publication, 1)
		server := ends
		conf := &server
		conf.Handler = handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
			if p, err := r.Accept(TrackInfo{}); err == nil {
				pubs <- p
			}
		}}
		cert, err := SelfSigned(time.Now(), "localhost")
		if err != nil {
			tb.Fatal(err)
		}
		pin, err := PinFingerprint(Fingerprint(cert))
		if err != nil {
			tb.Fatal(err)
		}
		at := "127.0.0.1:0"
		switch scheme {
		case "unix":
			at = (&url.URL{Scheme: "unix", Path: filepath.Join(tb.TempDir(), "s")}).String() // go test's names have a #
		case "tcp", "ws":
			at = scheme + "://" + at
		}
		var l SessionListener
		var dial dialer
		if path, is := strings.CutPrefix(scheme, "iroh"); is {
			l, dial = overIroh(tb, conf, strings.TrimSpace(path))
		} else {
			l, err = Listen(at, ServerTLS(cert), conf)
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { l.Close() })
			to := l.Addr().String()
			if at == "127.0.0.1:0" {
				to = scheme + "://" + to + "/"
			}
			dial = func(ctx context.Context, c *Config) (*Session, error) { return Dial(ctx, to, pin, c) }
		}
		subs, ps := pairs(tb, fan, func(ctx context.Context) (*Subscription, error) {
			c, err := dial(ctx, &ends)
			if err != nil {
				return nil, err
			}
			run(tb, c)
			return c.Subscribe(ctx, testTrack, SubscribeOptions{})
		}, func(ctx context.Context) (*Publication, error) {
			s, err := l.Accept(ctx)
			if err != nil {
				return nil, err
			}
			run(tb, s)
			return recv(tb, pubs), nil
		})
		payload, bufs := make([]byte, size), readBuffers(size, fan)
		group := uint64(0)
		return func(ctx context.Context, n int) error {
			defer func() { group += uint64(n) }()
			return both(ctx, fan,
				func(ctx context.Context, i int) error { return sessionPublisher(ctx, ps[i], group, payload, n) },
				func(ctx context.Context, i int) error {
					return sessionSubscriber(ctx, subs[i], bufs[i], n)
				})
		}
	}
}

// benchProperties are about what a TS part carries: an odd type with 38 bytes.
var benchProperties = append([]byte{0x01, 38}, make([]byte, 38)...)

func sessionPublisher(ctx context.Context, p *Publication, group uint64, payload []byte, n int) error {
	for ; n > 0; group++ {
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: group, HasProperties: true, EndOfGroup: true})
		if err != nil {
			return err
		}
		for id := range min(n, objectsPerGroup) {
			if err := w.WriteObject(uint64(id), benchProperties, wire.StatusNormal, payload); err != nil {
				return fmt.Errorf("group %d: %w", group, err)
			}
			n--
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

func sessionSubscriber(ctx context.Context, sub *Subscription, buf []byte, n int) error {
	for n > 0 {
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			return err
		}
		for {
			o, err := g.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if _, err := io.ReadFull(g, buf[:o.Size]); err != nil {
				return err
			}
			n--
		}
	}
	return nil
}
