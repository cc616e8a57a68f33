package moqt

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/irohtest"
	"every.channel/ec/lib/moqt/wire"
)

// overIroh is a listener of sessions that come over iroh, and what dials it, as programs do it: two nodes, each a process of ec-iroh with
// one Unix socket to this one. An empty path is that of irohtest.
func overIroh(t testing.TB, server *Config, program string) (SessionListener, dialer) {
	t.Helper()
	if program == "" {
		program = irohtest.Path(t)
	}
	var nodes [2]*iroh.Node
	for i, accept := range []bool{true, false} {
		n, err := iroh.New(iroh.Config{Program: program, Accept: accept, Bind: []string{"127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		nodes[i] = n
	}
	far, err := nodes[0].Self(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	l := ListenOn(nodes[0].Listener(), "iroh", server)
	t.Cleanup(func() { l.Close() })
	return l, func(ctx context.Context, client *Config) (*Session, error) {
		nc, alpn, err := nodes[1].Dial(ctx, far.ID, far.Addrs, "", client.transport().Protocols)
		if err != nil {
			return nil, err
		}
		only, known := wire.VersionByALPN(alpn)
		if !known {
			return nil, fmt.Errorf("ALPN %q", alpn)
		}
		conf := Config{}
		if client != nil {
			conf = *client
		}
		conf.Versions = []Version{only}
		return DialOn(ctx, nc, nc.RemoteAddr().String()+"/", &conf)
	}
}

// TestRolesOverIroh repeats what sessions are tested with in memory between two processes of ec-iroh, but for what was written just
// before a reset: over QUIC it may be lost.
func TestRolesOverIroh(t *testing.T) {
	irohtest.Path(t)
	rolesOver(t, "iroh", func(t testing.TB, client, server *Config) (c, s *Session) {
		l, dial := overIroh(t, server, "")
		return meeting(t, l, dial, client)
	}, "ResetDelivered", "ResetReachesTheReader")
}

// TestIrohDelay sends an object of 64 KiB every 20 ms over QUIC, and another one half way between over ec-iroh, and compares how
// long they take until the last byte is there: scripts/bench moqt 5 TestIrohDelay.
func TestIrohDelay(t *testing.T) {
	if *speedRounds <= 0 {
		t.Skip("a measurement: scripts/bench moqt 5 TestIrohDelay runs it")
	}
	irohtest.Path(t)
	ways := irohGrounds[:2]
	pub, sub := make([]*Publication, len(ways)), make([]*Subscription, len(ways))
	for i, scheme := range []string{"moqt", "iroh"} {
		pub[i], sub[i] = sessionOver(t, scheme)
	}
	var added [2][]float64
	for round := range *speedRounds {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		delays, err := paced(ctx, pub, sub, uint64(round), 250, 64<<10, 20*time.Millisecond)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range delays {
			fmt.Printf("%s: p50 %.2f ms, p99 %.2f ms\n", ways[i].name, quantile(d, 0.5), quantile(d, 0.99))
		}
		for i, q := range []float64{0.5, 0.99} {
			added[i] = append(added[i], quantile(delays[1], q)-quantile(delays[0], q))
		}
	}
	fmt.Printf("added, median of %d rounds: p50 %.2f ms, p99 %.2f ms\n", *speedRounds, median(added[0]), median(added[1]))
}

// sessionOver connects a publisher and a subscriber.
func sessionOver(t testing.TB, scheme string) (*Publication, *Subscription) {
	t.Helper()
	pubs := make(chan *Publication, 1)
	server := &Config{Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		if p, err := r.Accept(TrackInfo{}); err == nil {
			pubs <- p
		}
	}}}
	var c *Session
	switch scheme {
	case "moqt":
		c, _ = dialedPair(t, scheme, nil, server)
	default:
		l, dial := overIroh(t, server, "")
		c, _ = meeting(t, l, dial, nil)
	}
	s, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return recv(t, pubs), s
}

// paced sends n objects of size bytes on each way, one every interval and each a group, the ways by turns, and returns how many ms
// each took until its last byte was there.
func paced(ctx context.Context, pub []*Publication, sub []*Subscription, round uint64, n, size int, interval time.Duration) ([][]float64, error) {
	delays := make([][]float64, len(pub))
	g, ctx := errgroup.WithContext(ctx)
	first := round * uint64(n)
	sent := make([][]time.Time, len(pub))
	arrived := make([][]time.Time, len(pub))
	for way := range pub {
		sent[way], arrived[way] = make([]time.Time, n), make([]time.Time, n)
		g.Go(func() error {
			var reading errgroup.Group
			for range n {
				r, err := sub[way].AcceptSubgroup(ctx)
				if err != nil {
					return err
				}
				reading.Go(func() error {
					o, err := r.Next()
					if err != nil {
						return err
					}
					if got, err := io.Copy(io.Discard, r); err != nil || got != int64(size) || o.Size != uint64(size) {
						return fmt.Errorf("%d bytes of %d: %w", got, size, err)
					}
					arrived[way][r.Header().Group-first] = time.Now()
					if _, err := r.Next(); err != io.EOF {
						return err
					}
					return nil
				})
			}
			return reading.Wait()
		})
	}
	payload := make([]byte, size)
	tick := time.NewTicker(interval / time.Duration(len(pub)))
	defer tick.Stop()
	for i := range n * len(pub) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, g.Wait()
		}
		way, k := i%len(pub), i/len(pub)
		sent[way][k] = time.Now()
		g.Go(func() error { // a publisher that must wait does not wait for the next one
			w, err := pub[way].OpenSubgroup(ctx, SubgroupHeader{Group: first + uint64(k), EndOfGroup: true})
			if err != nil {
				return err
			}
			if err := w.WriteObject(0, nil, wire.StatusNormal, payload); err != nil {
				return err
			}
			return w.Close()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for way := range pub {
		for k := range n {
			delays[way] = append(delays[way], float64(arrived[way][k].Sub(sent[way][k]).Microseconds())/1e3)
		}
		slices.Sort(delays[way])
	}
	return delays, nil
}

func quantile(sorted []float64, q float64) float64 { return sorted[int(q*float64(len(sorted)-1))] }

var irohLoss = flag.String("iroh-loss", "", "flags of udpimpair for TestIrohLossy, a comma between them; EC_UDPIMPAIR is that program")

// TestIrohLossy sends 8 Mbit/s as objects of 100 kB over a path between two network namespaces that loses packets, and tells how late
// they were. Nothing may be missing. There is no way but the program at EC_UDPIMPAIR.
func TestIrohLossy(t *testing.T) {
	if *irohLoss == "" {
		t.Skip("a measurement: -iroh-loss -loss=0.01,-delay=20ms with EC_UDPIMPAIR, as root")
	}
	irohtest.Path(t)
	const port = "41007"
	here, there := irohtest.Apart(t)
	args := append([]string{"-listen", "198.51.101.1:" + port, "-to", "198.51.102.2:" + port}, strings.Split(*irohLoss, ",")...)
	proxy := exec.Command(os.Getenv("EC_UDPIMPAIR"), args...)
	proxy.Stdout, proxy.Stderr = os.Stdout, os.Stderr
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proxy.Process.Signal(os.Interrupt)
		proxy.Wait()
	})

	pubs := make(chan *Publication, 1)
	l, err := Listen("unix://"+filepath.Join(t.TempDir(), "s"), nil, &Config{Handler: handlers{subscribe: func(_ context.Context, r *SubscribeRequest) {
		if p, err := r.Accept(TrackInfo{}); err == nil {
			pubs <- p
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u, err := url.Parse(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far := irohtest.Start(t, u.Path, there, "--bind", "198.51.102.2:"+port)
	near := irohtest.Start(t, "", here, "--bind", "198.51.101.2:"+port)
	c, _ := connected(t, l, "unix://"+near.Socket(t, far.ID, "198.51.101.1:"+port), nil, nil)
	s, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const objects, size = 200, 100_000
	delays, err := paced(ctx, []*Publication{p}, []*Subscription{s}, 0, objects, size, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	d := delays[0]
	in := func(ms float64) float64 { return float64(sortedBelow(d, ms)) / objects }
	fmt.Printf("%s: %d of %d arrived; within 0.4 s %.2f, 1 s %.2f; p50 %.0f ms, p99 %.0f ms, most %.0f ms\n", *irohLoss, len(d), objects, in(400), in(1000),
		quantile(d, 0.5), quantile(d, 0.99), d[len(d)-1])
}

func sortedBelow(sorted []float64, limit float64) int {
	n, _ := slices.BinarySearch(sorted, limit)
	return n
}
