package sub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// lonely is a reader of chunks with a feeder that a test plays. No session is there of which anything could be fetched.
type lonely struct {
	*reader
	t    *testing.T
	ctx  context.Context
	over chan error
}

func alone(t *testing.T, c Config, to moqt.Location, w io.Writer) *lonely {
	ctx, cancel := context.WithCancel(t.Context())
	p := newTestPull(ctx)
	e := newTestEpoch(p)
	e.track = track{written: name.String(), name: name, ids: tagged, log: slog.New(slog.DiscardHandler)}
	e.to, e.asm = to, newAssembler(1<<20)
	e.asm.allow(true)
	e.join()
	c.Reorder = 2 * time.Second
	l := &lonely{reader: &reader{e: e, c: c, out: newOutput(c, w), meter: &p.meter}, t: t, ctx: ctx, over: make(chan error, 1)}
	go func() { l.over <- l.run(ctx) }()
	t.Cleanup(cancel)
	return l
}

func (l *lonely) put(list ...object.Object) {
	l.t.Helper()
	for _, o := range list {
		if err := l.e.asm.put(l.ctx, o, live); err != nil {
			l.t.Fatal(err)
		}
	}
}

// opens puts the first object of a stream that stays open.
func (l *lonely) opens(o object.Object) {
	l.e.asm.opened(o.Group)
	l.put(o)
}

// took waits until a group was the last that was written, and fails unless that takes just so long.
func (l *lonely) took(group uint64, want time.Duration) {
	l.t.Helper()
	began := time.Now()
	for synctest.Wait(); l.out.snapshot().Group != group; synctest.Wait() {
		if time.Since(began) > time.Minute {
			l.t.Fatalf("group %d was not written", group)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := time.Since(began); got != want {
		l.t.Errorf("group %d took %v, want %v", group, got, want)
	}
}

// What nobody has is waited for as long as Config.Reorder says, from the last thing that came of it on.
func TestReaderWaits(t *testing.T) {
	for _, test := range []struct {
		name string
		less func(*lonely) // what of the group 21 comes
		want time.Duration
	}{
		{"nothing comes", func(*lonely) {}, 2 * time.Second},
		{"its stream is open", func(l *lonely) { l.opens(groups(21, 1)[0]) }, 2 * time.Second},
		{"a part comes after a second", func(l *lonely) {
			l.opens(groups(21, 1)[0])
			time.AfterFunc(time.Second, func() { l.put(groups(21, 1)[1]) })
		}, 3 * time.Second},
		{"all comes after a second", func(l *lonely) {
			l.opens(groups(21, 1)[0])
			time.AfterFunc(time.Second, func() { l.put(groups(21, 1)[1:]...) })
		}, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := alone(t, Config{}, noEnd, io.Discard)
				l.put(groups(20, 1)...)
				l.took(chunk(20), 0)
				test.less(l)
				l.put(groups(22, 1)...)
				l.took(chunk(22), test.want)
			})
		})
	}
}

// An end in the middle of a bucket's ids does not leave out the chunk of that bucket with a lower one.
func TestReaderEndsWithinABucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := alone(t, Config{}, moqt.Location{Group: chunk(21) + 5}, io.Discard)
		l.put(groups(20, 1)...)
		l.took(chunk(20), 0)
		l.put(groups(21, 1)...)
		l.took(chunk(21), 0)
	})
}

// Nothing is given up while no relay is there: what is missing may come when one is back.
func TestReaderWaitsForARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := alone(t, Config{}, noEnd, io.Discard)
		l.put(groups(20, 1)...)
		l.took(chunk(20), 0)
		l.put(groups(22, 1)...)
		l.e.part()
		time.Sleep(time.Hour)
		if got := l.out.snapshot(); got.Group != chunk(20) || got.MissingGroups != 0 {
			t.Errorf("without a relay: %+v", got)
		}
		l.e.join()
		l.took(chunk(22), 2*time.Second)
		if got := l.out.snapshot(); got.MissingGroups != 1 {
			t.Errorf("with one: %+v", got)
		}
	})
}

// Where the clock was set: to what can be nothing else at once; to what may be late or lost in between, after a wait.
func TestReaderFollowsTheClock(t *testing.T) {
	for _, test := range []struct {
		name string
		to   int
		said bool
		want time.Duration
	}{
		{"back to what was read before", 21, false, 0},
		{"back to before reading began, and the publisher says so", 3, true, 0},
		{"back to before reading began", 3, false, 2 * time.Second},
		{"ahead, and the publisher says so", 500, true, grace},
		{"ahead", 500, false, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := alone(t, Config{Idle: time.Minute}, noEnd, io.Discard)
				l.put(groups(20, 5)...)
				l.took(chunk(24), 0)
				after := again(test.to, 1, test.said)
				l.put(after...)
				l.took(lastOf(after), test.want)
			})
		})
	}
}

// Reading ends at its bound, when the track does, and when nothing comes from a relay that is there.
func TestReaderEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		c    Config
		to   moqt.Location
		end  func(*lonely)
		want time.Duration
		gone int64
	}{
		{"the bound is passed", Config{}, moqt.Location{Group: chunk(21)}, func(l *lonely) { l.put(groups(21, 1)...) }, 0, 0},
		{"no chunk fits before the bound", Config{}, moqt.Location{Group: chunk(21) &^ 0xffff}, func(*lonely) {}, 0, 0},
		{"the track ends", Config{ExitAtEnd: true}, noEnd, func(l *lonely) {
			l.put(object.Object{Group: chunk(20) + 1, Status: object.EndOfTrack})
		}, 0, 0},
		{"nothing will come", Config{}, noEnd, func(l *lonely) { l.e.asm.finish() }, 0, 0},
		{"nothing comes", Config{Idle: 3 * time.Second}, noEnd, func(*lonely) {}, 3 * time.Second, 0},
		{"nothing comes before the bound", Config{Idle: 3 * time.Second}, moqt.Location{Group: chunk(24) &^ 0xffff}, func(*lonely) {}, 3 * time.Second, 3},
		{"nothing comes of the group before the bound", Config{Idle: 3 * time.Second}, moqt.Location{Group: chunk(22), Object: 1}, func(*lonely) {}, 3 * time.Second, 2},
		{"a relay has the end, and nothing comes before it", Config{}, moqt.Location{Group: chunk(25)}, func(l *lonely) { l.e.exhaust(0) }, 2 * time.Second, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				l := alone(t, test.c, test.to, io.Discard)
				l.put(groups(20, 1)...)
				test.end(l)
				began := time.Now()
				time.AfterFunc(time.Minute, cancel)
				select {
				case err := <-l.over:
					if err != nil {
						t.Error(err)
					}
				case <-ctx.Done():
					t.Fatal("it goes on")
				}
				if got := time.Since(began); got != test.want {
					t.Errorf("after %v, want %v", got, test.want)
				}
				if got := l.out.snapshot(); got.Objects != 3 || got.MissingGroups != test.gone || got.MissingObjects > 0 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// An output that fails ends reading.
func TestReaderCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		r.Close()
		l := alone(t, Config{}, noEnd, w)
		l.put(groups(20, 1)...)
		if err := <-l.over; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("error %v", err)
		}
	})
}
