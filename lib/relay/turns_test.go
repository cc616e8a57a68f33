package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// newTurn is that of a new subscriber.
func newTurn(all turns) *turn { return &turn{turns: all, pace: &pace{}} }

// begins reports how long u waits for its turn.
func begins(t *testing.T, u *turn) time.Duration {
	t.Helper()
	began := time.Now()
	if err := u.begin(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// One that does not get rid of its object holds up others for a moment, and the next time not at all.
func TestTurnsOfTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 1)
		slow, quick := newTurn(all), newTurn(all)
		for _, without := range []int{turnsWithout, 2 * turnsWithout, 4 * turnsWithout} {
			if d := begins(t, slow); d != 0 {
				t.Fatalf("waited %v for a free turn", d)
			}
			if d := begins(t, quick); d != turnTime {
				t.Fatalf("a slow one was waited for %v, not %v", d, turnTime)
			}
			slow.end()
			for i := range without {
				if d := begins(t, slow); d != 0 {
					t.Fatalf("a slow one waited %v before object %d after it was slow", d, i)
				}
				slow.end()
			}
			quick.end()
			if len(all) != 0 {
				t.Fatal("turns are lost")
			}
		}
		begins(t, slow)
		slow.end()
		if slow.pace.slow.Load() != 0 || len(all) != 0 {
			t.Error("one that is fast again is not believed")
		}
	})
}

// Nobody waits long, whatever others do.
func TestTurnsAreNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 1)
		all <- struct{}{} // and never over
		u := newTurn(all)
		if d := begins(t, u); d != turnWait {
			t.Errorf("waited %v, want %v", d, turnWait)
		}
		u.end()
		if len(all) != 1 || u.pace.exempt() {
			t.Error("who had no turn was slow in it")
		}
		lag := make(chan struct{})
		close(lag)
		if err := u.begin(t.Context(), lag); !errors.Is(err, errLag) {
			t.Errorf("too far behind while it waits: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := u.begin(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("left while it waits: %v", err)
		}
	})
}

// A turn that is over in time frees its place at once, and an expiry that comes too late frees none twice.
func TestTurnEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 2)
		a, b := newTurn(all), newTurn(all)
		begins(t, a)
		begins(t, b)
		a.end()
		a.expire()
		if len(all) != 1 {
			t.Fatalf("%d turns are taken, want 1", len(all))
		}
		b.end()
		time.Sleep(2 * turnTime) // no timer is left that frees another's
		begins(t, a)
		if len(all) != 1 {
			t.Fatalf("%d turns are taken, want 1", len(all))
		}
		a.end()
	})
}
