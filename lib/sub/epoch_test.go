package sub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// elsewhere is where a broadcast goes when its clock is restarted.
var elsewhere = object.TrackName{Namespace: broadcast, Name: "ts_t14"}

// names makes the catalog of the broadcast name a track.
func names(t testing.TB, relay *relaytest.Relay, group uint64, track string) {
	t.Helper()
	relay.Put(catalog.Of(broadcast), object.Object{Group: group, Payload: encoded(t, catalog.Catalog{
		Tracks: []catalog.Track{{Name: track, Packaging: catalog.PackagingM2TS}}, EC: &catalog.Private{Track: track},
	})})
}

// follows is a configuration that notices soon when a broadcast moves.
func follows(c Config) Config {
	c.Names, c.Reorder, c.silence = []string{broadcast.String()}, 50*time.Millisecond, 100*time.Millisecond
	return c
}

// normal leaves the ends of groups out: FETCH does not tell of the newest one's.
func normal(list []object.Object) []object.Object {
	return without(list, func(o object.Object) bool { return o.Status != object.Normal })
}

// said returns a channel that is closed once a message was logged, and the logger that does it.
func said(log *slog.Logger, message string) (*slog.Logger, <-chan struct{}) {
	h := &listening{Handler: log.Handler(), message: message, heard: make(chan struct{})}
	return slog.New(h), h.heard
}

type listening struct {
	slog.Handler
	message string
	once    sync.Once
	heard   chan struct{}
}

func (l *listening) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, l.message) {
		l.once.Do(func() { close(l.heard) })
	}
	return l.Handler.Handle(ctx, r)
}

// A broadcast moves while a relay owes an answer about the old track: its feeder leaves, and the new track comes over the same
// session.
func TestMoveWhileARelayIsSilent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		verb string
		from Point
	}{
		{"fetch", at(1000)},
		{"subscribe", Point{}},
	} {
		t.Run(test.verb, func(t *testing.T) {
			t.Parallel()
			relay := relaytest.New(t)
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			asked := make(chan struct{}, 100)
			relay.Refuse = func(verb string, n object.TrackName) (wire.RequestCode, bool) {
				if verb == test.verb && n.Equal(name) {
					asked <- struct{}{}
					<-over
				}
				return 0, false
			}
			names(t, relay, 1000, name.Name)
			relay.Put(name, groups(1000, 10)...)
			c := follows(config(t, relay))
			c.From = test.from
			rd := start(t, testContext(t), c)
			<-asked
			relay.Put(elsewhere, groups(10, 2)...)
			names(t, relay, 1001, elsewhere.Name)
			rd.until(11, 2)
			relay.Put(elsewhere, groups(12, 1)...)
			rd.until(12, 2)
			rd.leave(func() { relay.Put(elsewhere, groups(13, 1)...) })
			wantObjects(t, normal(rd.got), normal(groups(10, 3)))
			if relay.Sessions() != 1 {
				t.Errorf("%d sessions", relay.Sessions())
			}
		})
	}
}

// Reading ends while nobody has the new track yet: everybody goes home at once.
func TestContextEndsDuringMove(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	for _, r := range []*relaytest.Relay{a, b} {
		names(t, r, 1000, name.Name)
		r.Put(name, groups(1000, 2)...)
	}
	c := follows(both(t, a, b))
	var lost <-chan struct{}
	c.Log, lost = said(c.Log, "new track not found yet")
	ctx, cancel := context.WithCancelCause(testContext(t))
	rd := start(t, ctx, c)
	rd.until(1001, 2)
	for _, r := range []*relaytest.Relay{a, b} {
		names(t, r, 1001, elsewhere.Name)
	}
	<-lost
	leaving := errors.New("leaving")
	cancel(leaving)
	if err := rd.rest(); !errors.Is(err, leaving) {
		t.Errorf("error %v", err)
	}
}

// A relay that brought all it will ever bring of the old track may bring more of the new one.
func TestMoveWithARelayExhausted(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	relays := []*relaytest.Relay{a, b}
	for _, r := range relays {
		names(t, r, 1000, name.Name)
		r.Put(name, groups(1000, 2)...)
	}
	c := follows(both(t, a, b))
	c.ExitAtEnd = true
	rd := start(t, testContext(t), c)
	rd.until(1001, 2)
	a.End(name) // that relay is exhausted; of the other one nobody knows
	for _, r := range relays {
		r.Put(elsewhere, groups(10, 2)...)
		names(t, r, 1001, elsewhere.Name)
	}
	rd.until(11, 2)
	b.End(elsewhere) // now it is the other way round
	a.Put(elsewhere, groups(12, 2)...)
	rd.until(13, 2)
	a.End(elsewhere)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, normal(rd.got), normal(slices.Concat(groups(1001, 1), groups(10, 4))))
}

// Of two relays one has less, and ends: what the other one has is read to its end.
func TestRelayExhausted(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	a.Put(name, groups(10, 2)...)
	b.Put(name, groups(10, 5)...)
	a.End(name)
	c := both(t, a, b)
	c.From, c.ExitAtEnd = point(t, "first"), true
	rd := start(t, testContext(t), c)
	rd.until(14, 2)
	b.Put(name, groups(15, 1)...)
	rd.until(15, 2)
	b.End(name)
	if err := rd.rest(); err != nil {
		t.Fatal(err)
	}
	wantObjects(t, normal(rd.got), normal(groups(10, 6)))
}

// The pause before a broadcast goes on elsewhere is not one of the new track: Config.Idle counts from its beginning.
func TestIdleAfterMove(t *testing.T) {
	relay := relaytest.New(t)
	names(t, relay, 1000, name.Name)
	relay.Put(name, groups(1000, 2)...)
	c := follows(config(t, relay))
	c.Idle = 5 * time.Second
	rd := start(t, testContext(t), c)
	rd.until(1001, 2)
	relay.Put(elsewhere, groups(10, 2)...)
	names(t, relay, 1001, elsewhere.Name)
	rd.until(11, 2)
	rd.leave(func() { relay.Put(elsewhere, groups(12, 1)...) })
}

// newTestEpoch is an epoch of two relays that nobody feeds.
func newTestEpoch(p *pull) *epoch {
	e := &epoch{p: p, asm: newAssembler(1), exhausted: map[int]bool{}, followed: make(chan struct{})}
	e.ctx, e.leave = context.WithCancel(p.ctx)
	return e
}

func newTestPull(ctx context.Context) *pull {
	c := Config{Relays: []string{"a", "b"}, Log: slog.New(slog.DiscardHandler)}
	return newPull(ctx, &relays{c: c, out: newOutput(c, io.Discard), failed: make([]error, 2)}, "", name, true)
}

// An epoch waits for its feeders, and none joins one that ended.
func TestEpochEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := newTestPull(ctx)
		e := newTestEpoch(p)
		p.begin(e)
		release := make(chan struct{})
		for range 3 {
			if !e.join() {
				t.Fatal("an epoch takes no feeders")
			}
			go func() {
				<-e.ctx.Done()
				<-release
				e.part()
			}()
		}
		ended := make(chan struct{})
		go func() { e.end(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("an epoch ended before its feeders left")
		default:
		}
		if e.join() || !e.fed() {
			t.Error("a feeder joined while the epoch ended, or the others are not counted")
		}
		close(release)
		<-ended
		if e.join() || e.fed() {
			t.Error("a feeder joined an epoch that ended, or is still counted")
		}
	})
}

// Feeders come and go while an epoch ends: each is waited for or sent away.
func TestEpochEndsUnderWay(t *testing.T) {
	p := newTestPull(t.Context())
	for range 200 {
		e := newTestEpoch(p)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for e.join() {
					e.part()
				}
			})
		}
		e.end()
		if e.fed() {
			t.Fatal("a feeder is left")
		}
		all.Wait()
	}
}

// Who waits for what follows gets the next epoch, or nil when nothing does or the session ends.
func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := newTestPull(ctx)
		first, second := newTestEpoch(p), newTestEpoch(p)
		if p.current() != nil {
			t.Error("there is an epoch before there is one")
		}
		if p.begin(first) != first || p.begin(newTestEpoch(p)) != first {
			t.Error("the first epoch is not the one that came first")
		}
		gone, leave := context.WithCancel(ctx)
		leave()
		if first.follower(gone) != nil {
			t.Error("a session that ended goes on")
		}
		got := make(chan *epoch)
		go func() { got <- first.follower(ctx) }()
		synctest.Wait()
		select {
		case e := <-got:
			t.Fatalf("%p follows before it is known what does", e)
		default:
		}
		p.succeed(first, second)
		if e := <-got; e != second || p.current() != second || first.ctx.Err() == nil || second.ctx.Err() != nil {
			t.Error("the second epoch does not follow the first")
		}
		p.succeed(second, nil)
		if second.follower(ctx) != nil || p.current() != second || second.ctx.Err() == nil {
			t.Error("something follows the last epoch")
		}
	})
}

// Nothing came yet in an epoch that begins: the time since counts from there, and anew from each feeder.
func TestIdleOfAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e := newTestEpoch(newTestPull(ctx))
		time.Sleep(3 * time.Second)
		if got := e.asm.idle(); got != 3*time.Second {
			t.Errorf("idle for %v when nothing came for 3 s", got)
		}
		e.join()
		if got := e.asm.idle(); got != 0 {
			t.Errorf("idle for %v when a relay begins", got)
		}
	})
}

// Relays are exhausted of one epoch, not of the one after it.
func TestExhausted(t *testing.T) {
	p := newTestPull(t.Context())
	over := func(e *epoch) bool { e.asm.start(moqt.Location{}); return e.asm.look().over }
	first, second := newTestEpoch(p), newTestEpoch(p)
	first.exhaust(given) // none is given up
	if first.someExhausted() || over(first) {
		t.Error("no relay is exhausted")
	}
	first.exhaust(0)
	if !first.someExhausted() || over(first) {
		t.Error("one relay is exhausted, the other is not")
	}
	p.rs.failed[1] = io.ErrClosedPipe
	first.exhaust(given)
	if !over(first) {
		t.Error("one relay is exhausted and the other was given up")
	}
	if second.someExhausted() || over(second) {
		t.Error("the next epoch knows of it")
	}
}

func TestMeter(t *testing.T) {
	began := time.Date(2026, 7, 4, 20, 0, 0, 0, time.UTC)
	stamped := func(p clock.PTS) object.Properties { return object.Properties{PTS: uint64(p), HasPTS: true} }
	var m meter
	for _, step := range []struct {
		name string
		cut  bool
		prop object.Properties
		at   time.Duration // on the wall
		want time.Duration
	}{
		{"the first", false, stamped(clock.Wrap - 90_000), 0, 0},
		{"across the wrap", false, stamped(90_000), time.Minute, 2 * time.Second},
		{"a step back counts nothing", false, stamped(45_000), time.Minute, 2 * time.Second},
		{"on from there", false, stamped(90_000), time.Minute, 2500 * time.Millisecond},
		{"what has no time stamp", false, object.Properties{}, time.Hour, 2500 * time.Millisecond},
		{"another track's clock is another one", true, stamped(7_000_000), time.Hour, 2500 * time.Millisecond},
		{"and runs on", false, stamped(7_090_000), time.Hour, 3500 * time.Millisecond},
	} {
		if step.cut {
			m.cut()
		}
		if got := m.add(step.prop, began.Add(step.at)); got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
	var wall meter // of a track without time stamps
	wall.add(object.Properties{}, began)
	wall.cut()
	if got := wall.add(object.Properties{}, began.Add(time.Minute)); got != time.Minute {
		t.Errorf("without time stamps: %v after a minute", got)
	}
}
