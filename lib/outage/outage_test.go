package outage

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/pub"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/store"
)

func logger() *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// home is a relay of the test's own process, which can be away for a while.
type home struct {
	t     testing.TB
	dir   string
	addr  string
	tls   *tls.Config
	pin   string
	store *store.Store
	off   func()
}

func newHome(t testing.TB) *home {
	h := &home{t: t, dir: t.TempDir(), addr: loopback.Address(t)}
	h.on()
	t.Cleanup(func() { h.off() })
	return h
}

func (h *home) url() string { return "moqt://" + h.addr }

// on starts the relay, with the upstreams that are given.
func (h *home) on(upstreams ...relay.Upstream) {
	t := h.t
	t.Helper()
	var err error
	if h.store, err = store.Open(h.dir, store.Config{}); err != nil {
		t.Fatal(err)
	}
	certs, err := keys.Open(keys.Config{Dir: h.dir})
	if err != nil {
		t.Fatal(err)
	}
	h.pin = certs.Pin().String()
	if h.tls, err = moqt.PinFingerprint(h.pin); err != nil {
		t.Fatal(err)
	}
	l, err := moqt.Listen(h.addr, certs.TLS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := relay.New(relay.Config{Store: h.store, Upstreams: upstreams, DrainTimeout: time.Millisecond, Logger: logger().With("at", "relay")})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.store.Run(ctx) })
	running.Go(func() { r.Serve(ctx, l) })
	h.off = sync.OnceFunc(func() {
		cancel()
		l.Close()
		running.Wait()
		h.store.Close()
	})
}

// publish runs a publisher of a live input until stop.
func (h *home) publish(b *broadcast, c pub.Config, first uint64) (stop func() (pub.Stats, error)) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	go b.run(ctx, w, first)
	type result struct {
		pub.Stats
		error
	}
	over := make(chan result, 1)
	c.Relays, c.TLS, c.Log = []string{h.url()}, h.tls, logger().With("at", "publisher")
	go func() {
		s, err := pub.Run(context.Background(), c, r)
		over <- result{s, err}
	}()
	stop = sync.OnceValues(func() (pub.Stats, error) {
		cancel()
		r := <-over
		return r.Stats, r.error
	})
	h.t.Cleanup(func() { stop() })
	return stop
}

// wait waits for a condition, and returns how long it took.
func wait(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > time.Minute+2*away(t) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond) // polls a store, which has no event
	}
	return time.Since(began)
}

// away is how long the relay is away, and input what is published meanwhile. EC_OUTAGE_SECONDS, EC_OUTAGE_MS (of a group) and
// EC_OUTAGE_BYTES (of a part, of which a group has four) make it longer, slower and larger; scripts/crash does.
func away(t testing.TB) time.Duration {
	return time.Duration(number(t, "EC_OUTAGE_SECONDS", 8)) * time.Second
}

func input(t testing.TB) *broadcast {
	return &broadcast{size: number(t, "EC_OUTAGE_BYTES", 4000), every: time.Duration(number(t, "EC_OUTAGE_MS", 50)) * time.Millisecond}
}

// The relay is away for a while and the publisher goes on: what is new is there at once, and then everything of that time.
func TestOutage(t *testing.T) {
	t.Parallel()
	testOutage(t, input(t), pub.Config{})
}

// The relay is away for longer than what fits in memory: the rest comes from disk.
func TestSpool(t *testing.T) {
	t.Parallel()
	b := input(t)
	testOutage(t, b, pub.Config{Spool: t.TempDir(), Memory: int64(10 * b.size * parts)})
}

func testOutage(t *testing.T, b *broadcast, c pub.Config) {
	if testing.Short() || raced {
		t.Skip("takes half a minute, at a broadcast's own pace; scripts/test runs this without the race detector")
	}
	h := newHome(t)
	c.RetryLost = time.Hour
	stop := h.publish(b, c, 0)
	wait(t, "the first groups", func() bool { return has(h.store, 4) })
	h.off()
	gone := b.written.Load()
	time.Sleep(away(t)) // the outage
	h.on()
	back := b.written.Load()
	live := wait(t, "what is new", func() bool { return has(h.store, max(b.written.Load()-2, back)) })
	healed := wait(t, "what is missing", func() bool {
		n := b.written.Load() - 2
		return len(b.lacking(t, h.store, video, n)) == 0 && len(b.lacking(t, h.store, manifest, n)) == 0
	})
	t.Logf("away for %v, %d groups of %d bytes; live after %v, whole %v later", away(t), back-gone, parts*b.size, live, healed)
	stats, err := stop()
	if err != nil || stats.Dropped+stats.Undelivered > 0 {
		t.Errorf("%+v, %v", stats, err)
	}
	b.verify(t, h.store)
}

func has(st *store.Store, n uint64) bool {
	i, ok := st.Track(video).Group(firstGroup + n*groupStep)
	return ok && i.Complete
}
