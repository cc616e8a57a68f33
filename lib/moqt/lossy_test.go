package moqt

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

var lossyLast = flag.Duration("lossy", 0, "how long each row of TestLossy lasts; 0 skips it. EC_UDPIMPAIR is the program that makes the path bad")

const (
	lossyObject = 100_016 // 76 packets of SRT
	lossyEvery  = 100 * time.Millisecond
	lossyWarm   = 30 // objects before those that count
)

// TestLossy sends 8 Mbit/s as objects of 100 kB over paths that lose packets, by a session with repair and without, and by SRT where
// srt-live-transmit is installed, and prints a table of how late the last byte of each object was: scripts/lossy.
func TestLossy(t *testing.T) {
	if *lossyLast == 0 || os.Getenv("EC_UDPIMPAIR") == "" {
		t.Skip("a measurement: scripts/lossy, with EC_UDPIMPAIR")
	}
	fmt.Println("| round trip, loss | way | within 0.4 s | within 1 s | p50 | p99 |\n|---|---|---|---|---|---|")
	for _, row := range []string{
		"40 0", "40 0.001", "40 0.01", "40 0.03", "40 0.05", "40 0.1", "40 0.05 4", "200 0.01", "200 0.1", "200 0.05 4",
	} {
		f := append(strings.Fields(row), "1")
		args := []string{"-delay", fmt.Sprintf("%sms", map[string]string{"40": "20", "200": "100"}[f[0]]), "-loss", f[1], "-burst", f[2]}
		for _, way := range []string{"QUIC", "repair", "SRT"} {
			t.Run(row+way, func(t *testing.T) {
				var late []float64
				var more string
				if way == "SRT" {
					late = lossySRT(t, args)
				} else {
					late, more = lossySession(t, args, way == "QUIC")
				}
				slices.Sort(late)
				fmt.Printf("| %s ms, %s in bursts of %s | %s | %.3f | %.3f | %s | %s | %s\n", f[0], f[1], f[2], way, part(late, 400), part(late, 1000),
					ms(quantile(late, 0.5)), ms(quantile(late, 0.99)), more)
			})
		}
	}
}

func part(late []float64, limit float64) float64 {
	n := 0
	for _, l := range late {
		if l <= limit {
			n++
		}
	}
	return float64(n) / float64(len(late))
}

func ms(v float64) string {
	if math.IsInf(v, 1) {
		return "never"
	}
	return fmt.Sprintf("%.0f", v)
}

// impaired starts the program that makes a path bad and returns where it listens.
func impaired(t *testing.T, to string, args []string) string {
	t.Helper()
	proxy := exec.Command(os.Getenv("EC_UDPIMPAIR"), append([]string{"-listen", "127.0.0.1:0", "-to", to}, args...)...)
	errs, err := proxy.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proxy.Process.Kill()
		proxy.Wait()
	})
	line, err := bufio.NewReader(errs).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(line)
	return f[len(f)-1]
}

// lateness is how late each object was, in ms.
type lateness struct {
	mu    sync.Mutex
	start time.Time
	late  []float64
}

func newLateness() *lateness {
	l := &lateness{late: make([]float64, int(*lossyLast/lossyEvery))}
	for i := range l.late {
		l.late[i] = math.Inf(1)
	}
	return l
}

func (l *lateness) due(i int) time.Time { return l.start.Add(time.Duration(i) * lossyEvery) }

func (l *lateness) here(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i < len(l.late) && math.IsInf(l.late[i], 1) {
		l.late[i] = time.Since(l.due(i)).Seconds() * 1e3
	}
}

func (l *lateness) result() []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.late[min(lossyWarm, len(l.late)-1):])
}

// lossySession sends from a publisher that dialed to a listener that subscribes, as ec-pub does to a relay.
func lossySession(t *testing.T, args []string, off bool) ([]float64, string) {
	pubs := make(chan *Publication, 1)
	conf := &Config{Versions: []Version{wire.Draft18}, NoRepair: off, Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		if p, err := r.Accept(TrackInfo{}); err == nil {
			pubs <- p
		}
	}}}
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", ServerTLS(cert), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, s := connected(t, l, "moqt://"+impaired(t, l.Addr().String(), args)+"/", pin, conf)
	ctx, cancel := context.WithTimeout(t.Context(), *lossyLast+5*time.Second)
	defer cancel()
	sub, err := s.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pub := recv(t, pubs)
	late := newLateness()
	var all sync.WaitGroup
	all.Go(func() {
		for range late.late {
			r, err := sub.AcceptSubgroup(ctx)
			if err != nil {
				return
			}
			all.Go(func() {
				if _, err := r.Next(); err != nil {
					return
				}
				if n, err := io.Copy(io.Discard, r); err == nil && n == lossyObject {
					late.here(int(r.Header().Group))
				}
			})
		}
	})
	late.start = time.Now()
	payload := make([]byte, lossyObject)
	for i := range late.late {
		time.Sleep(time.Until(late.due(i)))
		all.Go(func() {
			w, err := pub.OpenSubgroup(ctx, SubgroupHeader{Group: uint64(i), EndOfGroup: true})
			if err != nil {
				return
			}
			w.SetWriteDeadline(time.Now().Add(3 * time.Second))
			if w.WriteObject(0, nil, wire.StatusNormal, payload) != nil {
				w.Reset(wire.ResetInternalError)
				return
			}
			w.Close()
		})
	}
	time.Sleep(time.Second)
	more := fmt.Sprintf("%+v", c.Repair())
	time.AfterFunc(time.Second, cancel)
	all.Wait()
	return late.result(), more
}

// lossySRT sends the same over SRT with a latency of 400 ms, from one srt-live-transmit to another.
func lossySRT(t *testing.T, args []string) []float64 {
	program, err := exec.LookPath("srt-live-transmit")
	if err != nil {
		t.Skip(err)
	}
	out, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	out.SetReadBuffer(8 << 20)
	start := func(from, to string) {
		cmd := exec.Command(program, "-loglevel:fatal", from, to)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		time.Sleep(time.Second)
	}
	srt, in := freePort(t), freePort(t)
	to := impaired(t, srt, args)
	start("srt://"+srt+"?mode=listener&latency=400", "udp://"+out.LocalAddr().String())
	start("udp://"+in, "srt://"+to+"?mode=caller&latency=400")
	w, err := net.Dial("udp", in)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	late, got := newLateness(), map[uint32]int{}
	const size, each = 1316, lossyObject / 1316
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			if n >= 8 {
				i := binary.BigEndian.Uint32(b[4:]) / each
				if got[i]++; got[i] == each {
					late.here(int(i))
				}
			}
		}
	}()
	late.start = time.Now()
	b := make([]byte, size)
	b[0] = 0x47
	for k := range len(late.late) * each {
		time.Sleep(time.Until(late.start.Add(time.Duration(k) * lossyEvery / each)))
		binary.BigEndian.PutUint32(b[4:], uint32(k))
		w.Write(b)
	}
	time.Sleep(2 * time.Second)
	for i := range late.late { // an object is due when its last packet was given to SRT
		late.late[i] -= float64(lossyEvery.Milliseconds())
	}
	return late.result()
}

// freePort is an address that nobody has.
func freePort(t *testing.T) string {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	return u.LocalAddr().String()
}
