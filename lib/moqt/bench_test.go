package moqt

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h, pubs := accepting(TrackInfo{})
	c, _ := quicPair(b, nil, &Config{Handler: h})
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
