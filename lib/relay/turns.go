package relay

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
)

// An object that came wakes every subscriber of its track. If hundreds write at the same time, each has packets in flight and
// all are done late; one after the other, the first has the object early and the memory of its packets serves the next. So
// those that write take turns. It costs nobody much: a turn is short, nobody waits long for one, and whoever does not get rid
// of an object meanwhile, because its peer or the way there is slow, writes without turns from then on, more and more often.
const (
	// turnsPerCPU is how many write at the same time for each CPU.
	turnsPerCPU = 8
	// turnTime is how long a turn lasts at most.
	turnTime = 20 * time.Millisecond
	// turnWait is how long one is waited for.
	turnWait = 100 * time.Millisecond
	// turnsWithout is how many objects a subscriber that was too slow writes without a turn, twice as many every time,
	// until mostWithout.
	turnsWithout, mostWithout = 8, 1024
)

// turns is how many may write at the same time.
type turns chan struct{}

func newTurns() turns { return make(turns, turnsPerCPU*runtime.GOMAXPROCS(0)) }

// pace is how fast a subscriber got rid of what it wrote.
type pace struct {
	without atomic.Int32 // how many objects go without a turn
	slow    atomic.Int32 // how many went the last time
}

// exempt reports whether an object goes without a turn, and counts it.
func (p *pace) exempt() bool {
	if p.without.Load() <= 0 {
		return false
	}
	p.without.Add(-1)
	return true
}

func (p *pace) late() {
	n := min(max(turnsWithout, 2*p.slow.Load()), mostWithout)
	p.slow.Store(n)
	p.without.Store(n)
}

func (p *pace) inTime() { p.slow.Store(0) }

// turn is that of one pump.
type turn struct {
	turns turns
	pace  *pace
	timer *time.Timer // ends a turn that takes too long
	taken bool
	held  atomic.Bool // taken and not over yet
}

// begin waits for a turn, but not for long. Every begin without an error is followed by an end.
func (u *turn) begin(ctx context.Context, lag <-chan struct{}) error {
	if u.pace.exempt() {
		return nil
	}
	select {
	case u.turns <- struct{}{}:
	default:
		patience := time.NewTimer(turnWait)
		defer patience.Stop()
		select {
		case u.turns <- struct{}{}:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-lag:
			return errLag
		}
	}
	u.taken = true
	u.held.Store(true)
	if u.timer == nil {
		u.timer = time.AfterFunc(turnTime, u.expire)
	} else {
		u.timer.Reset(turnTime)
	}
	return nil
}

// expire lets another one begin. If it comes late, in the next turn of the same pump, that one is short.
func (u *turn) expire() {
	if u.held.Swap(false) {
		<-u.turns
		u.pace.late()
	}
}

func (u *turn) end() {
	if !u.taken {
		return
	}
	u.taken = false
	u.timer.Stop()
	if u.held.Swap(false) {
		<-u.turns
		u.pace.inTime()
	}
}

// urgent reports that an object goes before others of its subscriber, by either one's priority: it waits for nobody's turn.
func urgent(s moqt.PublicationState, publisher uint8) bool {
	return s.Priority < moqt.DefaultPriority || publisher < moqt.DefaultPriority
}
