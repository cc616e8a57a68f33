package outage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay"
)

// viewer notes when each part of the video comes from a relay.
type viewer struct {
	t    testing.TB
	b    *broadcast
	mu   sync.Mutex
	from uint64 // the first group that it was sent
	some bool
	at   map[moqt.Location]time.Time // when each part was whole
	bad  int                         // parts that are not what was published
}

// watch subscribes at a relay, until the test is over.
func watch(t testing.TB, b *broadcast, h *home) *viewer {
	t.Helper()
	v := &viewer{t: t, b: b, at: make(map[moqt.Location]time.Time)}
	ctx, cancel := context.WithCancel(context.Background())
	ms, err := moqt.Dial(ctx, h.url(), h.tls, nil)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { ms.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	sub, err := ms.Subscribe(ctx, video, moqt.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		for {
			r, err := sub.AcceptSubgroup(ctx)
			if err != nil {
				return
			}
			running.Go(func() { v.read(r) })
		}
	})
	return v
}

func (v *viewer) read(r *moqt.SubgroupReader) {
	for {
		o, err := r.Next()
		if err != nil || o.Status != 0 {
			return
		}
		group := r.Header().Group
		buf := make([]byte, o.Size)
		if _, err := io.ReadFull(r, buf); err != nil {
			return
		}
		now, ok := time.Now(), bytes.Equal(buf, payload(video, group, o.ID, v.b.size))
		v.mu.Lock()
		if !ok {
			v.bad++
		}
		if !v.some {
			v.some, v.from = true, group+groupStep
		}
		v.at[moqt.Location{Group: group, Object: o.ID}] = now
		v.mu.Unlock()
	}
}

// longest returns how late parts of the groups from one number to another came, and which did not come at all.
func (v *viewer) longest(from, to uint64) (late time.Duration, lost []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := from; n < to; n++ {
		group := firstGroup + n*groupStep
		if !v.some || group < v.from {
			continue
		}
		for id := range uint64(parts) {
			at, ok := v.at[moqt.Location{Group: group, Object: id}]
			if !ok {
				lost = append(lost, fmt.Sprintf("%d/%d", n, id))
				continue
			}
			late = max(late, at.Sub(v.b.due(n, id)))
		}
	}
	return late, lost
}

// whole reports whether the viewer has everything of some groups.
func (v *viewer) whole(from, to uint64) bool {
	_, lost := v.longest(from, to)
	return len(lost) == 0
}

// uplink passes datagrams on to a relay and counts the bytes that go up.
type uplink struct {
	net.PacketConn
	up atomic.Int64
}

func newUplink(t testing.TB, relay string) *uplink {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	u := &uplink{PacketConn: front}
	var running sync.WaitGroup
	t.Cleanup(func() { front.Close(); back.Close(); running.Wait() })
	var home atomic.Pointer[net.Addr]
	running.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			home.Store(&from)
			u.up.Add(int64(n))
			back.Write(b[:n])
		}
	})
	running.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, err := back.Read(b)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue // the relay was away for a moment
			}
			if to := home.Load(); to != nil {
				front.WriteTo(b[:n], *to)
			}
		}
	})
	return u
}

// pair is a relay, a home that sends, and one that is its standby, with a viewer at a relay behind the first.
type pair struct {
	t              testing.TB
	b              *broadcast
	relay          *home
	edge           *home // a relay behind it, at which the viewer is
	first, standby *process
	up             [2]*uplink
	v              *viewer
}

// newPair starts all of them. If rest is not set, both homes send.
func newPair(t testing.TB, b *broadcast, rest bool) *pair {
	t.Helper()
	p := &pair{t: t, b: b, relay: newHome(t), edge: newHome(t)}
	p.edge.off()
	p.edge.on(relay.Upstream{Relay: p.relay.url(), TLS: p.relay.tls})
	b.begin()
	for i := range p.up {
		p.up[i] = newUplink(t, p.relay.addr)
	}
	p.first, p.standby = p.home(p.up[0], false), p.home(p.up[1], rest)
	p.first.publisher(b)
	p.standby.publisher(b)
	wait(t, "the first groups", func() bool { return p.stored() > 4 })
	p.v = watch(t, b, p.edge)
	wait(t, "the viewer's first groups", func() bool { p.v.mu.Lock(); defer p.v.mu.Unlock(); return len(p.v.at) > 2*parts })
	return p
}

func (p *pair) stored() int {
	n := 0
	for _, i := range p.relay.store.Track(video).Groups(0, object.MaxVarint) {
		if i.Complete {
			n++
		}
	}
	return n
}

func (p *pair) home(up *uplink, rest bool) *process {
	h := newProcess(p.t, "publisher", up.LocalAddr().String())
	h.pin, h.rest = p.relay.pin, rest
	return h
}

// rests waits until the standby has sent next to nothing for some groups.
func (p *pair) rests() {
	p.t.Helper()
	wait(p.t, "the standby to rest", func() bool {
		before := p.up[1].up.Load()
		time.Sleep(2 * p.b.every)
		return p.up[1].up.Load()-before < int64(p.b.size)
	})
}

// after lets something happen to the first home, and returns how late a part came for it at the viewer, until the first home is back.
func (p *pair) after(what string, fail, back func()) time.Duration {
	p.t.Helper()
	time.Sleep(time.Duration(rand.Int64N(int64(p.b.every)))) // any moment is as good
	from := p.b.now()
	fail()
	if what != damaged {
		time.Sleep(4 * p.b.every)
	}
	back()
	to := p.b.now() + 4
	wait(p.t, what+": all that was on air", func() bool { return p.b.now() > to && p.v.whole(from, to) })
	late, _ := p.v.longest(from, to)
	return late
}

// damaged is what happens to a home with a bad antenna: of four groups it publishes only the beginning, as ec-chop does with a chunk that turns
// out damaged.
const damaged = "damaged"

func (p *pair) damage() {
	for range 4 {
		n := p.b.now() + 1
		sleepUntil(p.b.due(n, rand.Uint64N(parts-1)).Add(p.b.every / parts / 4))
		p.first.deaf.Store(true)
		sleepUntil(p.b.due(n, parts-1).Add(p.b.every / parts / 4))
		p.first.deaf.Store(false)
	}
}

func sleepUntil(at time.Time) { time.Sleep(time.Until(at)) }

// failures are what may happen to a home.
func (p *pair) failures() map[string][2]func() {
	again := func() { p.first.publisher(p.b) }
	return map[string][2]func(){
		"killed":  {p.first.kill, again},
		"stopped": {func() { p.first.cmd.Process.Signal(syscall.SIGSTOP) }, func() { p.first.cmd.Process.Signal(syscall.SIGCONT) }},
		"stalled": {func() { p.first.deaf.Store(true) }, func() { p.first.deaf.Store(false) }},
		"ended":   {p.first.end, again},
		damaged:   {p.damage, func() {}},
	}
}

// The first of two homes is killed, stopped, cut off from its antenna, ends, or has damaged groups. The standby takes over, the viewer gets every part and
// waits for one no longer than another part takes, and the standby rests when the first home is back. EC_STANDBY_KILLS says how often
// each of EC_STANDBY_KINDS happens; scripts/standby runs it with many, at a broadcast's size.
func TestStandby(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes half a minute, at a broadcast's own pace; scripts/test runs this without the race detector")
	}
	n := number(t, "EC_STANDBY_KILLS", 1)
	b := &broadcast{size: number(t, "EC_OUTAGE_BYTES", 20000), every: time.Duration(number(t, "EC_OUTAGE_MS", 800)) * time.Millisecond}
	p := newPair(t, b, true)
	p.rests()
	was := [2]int64{p.up[0].up.Load(), p.up[1].up.Load()}
	time.Sleep(time.Duration(number(t, "EC_STANDBY_SECONDS", 5)) * time.Second) // what the standby costs meanwhile
	first, second := p.up[0].up.Load()-was[0], p.up[1].up.Load()-was[1]
	t.Logf("bytes up: first %d, standby %d, %.2f %%", first, second, 100*float64(second)/float64(first))
	if second*100 > first*3 {
		t.Errorf("the standby sent %d bytes while the first home sent %d", second, first)
	}
	part := b.every / parts
	failures := p.failures()
	kinds := strings.Fields(os.Getenv("EC_STANDBY_KINDS"))
	if len(kinds) == 0 {
		kinds = []string{"killed", "stopped", "stalled", "ended", damaged}
	}
	for _, what := range kinds {
		var took []time.Duration
		for range n {
			took = append(took, p.after(what, failures[what][0], failures[what][1]))
			p.rests()
		}
		slices.Sort(took)
		t.Logf("%s %d times: the latest part came after %v (median), %v (p95), %v (longest); a part takes %v", what, n,
			took[n/2], took[n*95/100], took[n-1], part)
		if took[n/2] > 2*part {
			t.Errorf("%s: parts came %v late", what, took[n/2])
		}
	}
	if p.v.bad > 0 {
		t.Errorf("%d parts are not what was published", p.v.bad)
	}
	b.verify(t, p.relay.store)
	b.verify(t, p.edge.store)
}

// The relay is away for a while: the first home and its standby come back, in whatever order, nothing is missing and the standby rests.
func TestStandbyAndRelayRestarts(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes some seconds, at a broadcast's own pace; scripts/test runs this without the race detector")
	}
	t.Parallel()
	b := &broadcast{size: 20000, every: 400 * time.Millisecond}
	p := newPair(t, b, true)
	from := b.now()
	for range 2 {
		p.relay.off()
		time.Sleep(2 * time.Second)
		p.relay.on()
		to := b.now()
		wait(t, "what was on air meanwhile", func() bool {
			return b.now() > to+2 && len(b.missing(p.relay, from, to)) == 0
		})
		p.rests()
	}
	b.verify(t, p.relay.store)
}

// missing returns the groups from one number to another that are not whole at a relay.
func (b *broadcast) missing(h *home, from, to uint64) (list []uint64) {
	for n := from; n < to; n++ {
		if !has(h.store, n) {
			list = append(list, n)
		}
	}
	return list
}

// Of two homes that both send, the first one has damaged groups, and then is killed: the viewer gets every part in time.
func TestTwoHomes(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes some seconds, at a broadcast's own pace; scripts/test runs this without the race detector")
	}
	t.Parallel()
	b := &broadcast{size: 20000, every: 400 * time.Millisecond}
	p := newPair(t, b, false)
	for _, what := range []string{damaged, "killed"} {
		late := p.after(what, p.failures()[what][0], p.failures()[what][1])
		t.Logf("%s: the latest part came after %v; a part takes %v", what, late, b.every/parts)
		if late > time.Second {
			t.Errorf("%s: parts came %v late", what, late)
		}
	}
	if p.v.bad > 0 {
		t.Errorf("%d parts are not what was published", p.v.bad)
	}
	b.verify(t, p.edge.store)
}
