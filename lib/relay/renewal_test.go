package relay

import (
	"sync/atomic"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
)

// calendar is a clock that a test sets.
type calendar struct{ now atomic.Pointer[time.Time] }

func newCalendar(now time.Time) *calendar {
	c := new(calendar)
	c.now.Store(&now)
	return c
}

func (c *calendar) Now() time.Time { return *c.now.Load() }
func (c *calendar) wait(days int)  { now := c.Now().AddDate(0, 0, days); c.now.Store(&now) }

// TestRenewal: the certificate of programs is replaced three times, and then the relay restarted, under a publisher, viewers over QUIC
// and WebTransport, and a relay behind the relay. What was pinned in the beginning lets everybody in to the end.
func TestRenewal(t *testing.T) {
	c, dir := newCalendar(time.Now()), t.TempDir()
	origin := startAt(t, c.Now, dir, "127.0.0.1:0", Config{}, store.Config{}, nil)
	pin, err := moqt.PinFingerprint(origin.keys.Pin().String())
	if err != nil {
		t.Fatal(err)
	}
	edge := start(t, t.TempDir(), "127.0.0.1:0", Config{Upstreams: []Upstream{{Relay: "moqt://" + origin.addr, TLS: pin}}}, store.Config{})
	overWeb := *origin
	overWeb.addr = "https://" + origin.addr
	p := origin.publisher(t, ts)
	p.group(0)
	origin.stored(t, parts+1)
	edge.knows(t, ts.Namespace)
	viewers := map[string]*viewer{"QUIC": origin.viewer(t, ts, from(0)), "WebTransport": overWeb.viewer(t, ts, from(0)), "edge": edge.viewer(t, ts, from(0))}
	groups := 1
	whole := func() {
		t.Helper()
		p.group(uint64(groups))
		groups++
		for _, v := range viewers {
			v.whole(groups)
		}
	}
	whole()
	seen := map[keys.Pin]bool{keys.OfCertificate(origin.keys.Program()): true}
	for range 3 {
		c.wait(276)
		for _, s := range []*server{origin, &overWeb} { // newcomers with the pin of old
			v := s.viewer(t, ts, from(0))
			v.whole(1)
			v.c.leave()
		}
		seen[keys.OfCertificate(origin.keys.Program())] = true
		whole()
	}
	if len(seen) != 4 {
		t.Errorf("%d certificates, want the first and three more", len(seen))
	}
	origin.stop()
	again := startAt(t, c.Now, dir, origin.addr, Config{}, store.Config{}, nil)
	if again.keys.Pin() != origin.keys.Pin() {
		t.Error("another pin after the restart")
	}
	again.tls = pin
	p = again.publisher(t, ts)
	p.group(uint64(groups))
	viewers["edge"].whole(groups + 1)
}
