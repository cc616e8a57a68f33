package moqt

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/moqt/wire"
)

// objectsPerGroup is how many objects share a stream in the benchmarks: a group of 2 s in parts of 200 ms.
const objectsPerGroup = 10

var benchSizes = []struct {
	name string
	size int
}{{"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

// BenchmarkOneToOne moves objects from a publisher to a subscriber in one process, over plain quic-go streams with a length
// before each object, and over sessions. Compare the two lines of a size.
func BenchmarkOneToOne(b *testing.B) {
	for _, s := range benchSizes {
		b.Run(s.name+"/quic", func(b *testing.B) { benchPlain(b, s.size) })
		b.Run(s.name+"/moqt", func(b *testing.B) { benchSession(b, s.size) })
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs b.N objects through and reports CPU per gigabyte and bytes allocated per byte.
func measure(b *testing.B, size int, move func()) {
	b.SetBytes(int64(size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime()
	b.ResetTimer()
	move()
	b.StopTimer()
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	total := float64(size) * float64(b.N)
	b.ReportMetric(cpu.Seconds()/(total/1e9), "cpu-s/GB")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/total, "alloc-B/B")
}

func benchPlain(b *testing.B, size int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		b.Fatal(err)
	}
	qc := quicConfig((*Config)(nil).withDefaults())
	tc := ServerTLS(cert)
	tc.NextProtos = []string{"plain"}
	l, err := quic.ListenAddr("127.0.0.1:0", tc, qc)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			done <- err
			return
		}
		done <- plainPublisher(ctx, c, size, b.N)
	}()
	c, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"plain"}}, qc)
	if err != nil {
		b.Fatal(err)
	}
	defer c.CloseWithError(0, "")
	buf := make([]byte, size)
	measure(b, size, func() {
		for n := 0; n < b.N; {
			st, err := c.AcceptUniStream(ctx)
			if err != nil {
				b.Fatal(err)
			}
			var head [8]byte
			for {
				if _, err := io.ReadFull(st, head[:]); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(st, buf[:binary.BigEndian.Uint64(head[:])]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
	})
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func plainPublisher(ctx context.Context, c *quic.Conn, size, n int) error {
	msg := make([]byte, 8+size)
	binary.BigEndian.PutUint64(msg, uint64(size))
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

func benchSession(b *testing.B, size int) {
	benchPair(b, size, func(client, server *Config) (*Session, *Session) { return quicPair(b, client, server) })
}

func benchPair(b *testing.B, size int, pair func(client, server *Config) (*Session, *Session)) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h, pubs := accepting(TrackInfo{})
	c, _ := pair(nil, &Config{Handler: h})
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	p := <-pubs
	done := make(chan error, 1)
	go func() { done <- sessionPublisher(ctx, p, size, b.N) }()
	buf := make([]byte, size)
	measure(b, size, func() {
		for n := 0; n < b.N; {
			g, err := sub.AcceptSubgroup(ctx)
			if err != nil {
				b.Fatal(err)
			}
			for {
				o, err := g.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(g, buf[:o.Size]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
	})
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func sessionPublisher(ctx context.Context, p *Publication, size, n int) error {
	payload := make([]byte, size)
	properties := make([]byte, 40)
	properties[0], properties[1] = 0x01, 38 // an odd type with 38 bytes, about what a TS part carries
	for group := uint64(0); n > 0; group++ {
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: group, HasProperties: true, EndOfGroup: true})
		if err != nil {
			return err
		}
		for id := range min(n, objectsPerGroup) {
			if err := w.WriteObject(uint64(id), properties, wire.StatusNormal, payload); err != nil {
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

// BenchmarkUrgentOverBulk publishes a small object every 5 ms next to a track that fills the connection, and reports how long
// the small ones take, with the priorities that put them first and, for comparison, with the same priority for both.
func BenchmarkUrgentOverBulk(b *testing.B) {
	for _, tt := range []struct {
		name         string
		urgent, bulk uint8
	}{{"urgent", 0, 255}, {"equal", 128, 128}} {
		b.Run(tt.name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			h, pubs := accepting(TrackInfo{})
			c, _ := quicPair(b, nil, &Config{Handler: h})
			open := func(name string, priority uint8) (*Subscription, *Publication) {
				t := testTrack
				t.Name = name
				sub, err := c.Subscribe(ctx, t, SubscribeOptions{Priority: &priority})
				if err != nil {
					b.Fatal(err)
				}
				return sub, <-pubs
			}
			bulkSub, bulk := open("bulk", tt.bulk)
			urgentSub, urgent := open("urgent", tt.urgent)
			stop, cancelBulk := context.WithCancel(ctx)
			var running sync.WaitGroup
			running.Go(func() { // fills the connection
				for stop.Err() == nil {
					if sessionPublisher(stop, bulk, 1<<20, 5) != nil {
						return
					}
				}
			})
			running.Go(func() {
				for {
					g, err := bulkSub.AcceptSubgroup(stop)
					if err != nil {
						return
					}
					for err == nil {
						_, err = g.Next()
					}
				}
			})
			delays := make([]time.Duration, 0, b.N)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				start := time.Now()
				w, err := urgent.OpenSubgroup(ctx, SubgroupHeader{Group: uint64(i)})
				if err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(w.WriteObject(0, nil, wire.StatusNormal, make([]byte, 1000)), w.Close()); err != nil {
					b.Fatal(err)
				}
				g, err := urgentSub.AcceptSubgroup(ctx)
				if err == nil {
					_, err = g.Next()
				}
				if err == nil {
					_, err = io.Copy(io.Discard, g)
				}
				if err != nil {
					b.Fatal(err)
				}
				delays = append(delays, time.Since(start))
				g.Cancel(wire.ResetCancelled)
			}
			cancelBulk()
			bulk.Done(wire.DoneTrackEnded, "")
			bulkSub.Unsubscribe()
			running.Wait()
			slices.Sort(delays)
			b.ReportMetric(float64(delays[len(delays)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(delays[len(delays)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
