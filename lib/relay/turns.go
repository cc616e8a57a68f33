package relay

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
)

// An object that arrives wakes every subscriber of its track. If hundreds of them write at the same time, each has packets in
// flight and all of them finish late. If they write one after another, the first one has the object early, and the memory of its
// packets serves the next one. So subscribers take turns in writing. That costs no subscriber much: a turn is short, and nobody
// waits long for one. A subscriber that cannot write an object within a turn, because its peer or its path is slow, writes the
// next objects without turns, and more of them each time.
const (
	// turnsPerCPU is how many subscribers write at the same time for each CPU.
	turnsPerCPU = 8
	// turnTime is how long a turn may last.
	turnTime = 20 * time.Millisecond
	// turnWait is how long a subscriber waits for a turn; then it writes without one.
	turnWait = 100 * time.Millisecond
	// turnsWithout is how many objects a subscriber that was too slow writes without a turn. The number doubles each further
	// time, up to mostWithout.
	turnsWithout, mostWithout = 8, 1024
)

// turns holds a token for each subscriber that may write at the same time.
type turns chan struct{}

func newTurns() turns { return make(turns, turnsPerCPU*runtime.GOMAXPROCS(0)) }

// pace records how fast a subscriber could write.
type pace struct {
	without atomic.Int32 // how many more objects are written without a turn
	slow    atomic.Int32 // how many were, the last time that it was too slow
}

// exempt reports whether the next object is written without a turn, and counts it.
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

// turn is the turn of one pump.
type turn struct {
	turns turns
	pace  *pace
	timer *time.Timer // ends a turn that takes too long
	taken bool
	held  atomic.Bool // the turn was taken and is not over yet
}

// begin waits for a turn, for turnWait at most. Every begin without an error must be followed by an end.
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

// expire lets another pump begin. If it runs late, in the next turn of the same pump, that turn is cut short.
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

// urgent reports whether the subscriber or the publisher gave an object a priority before the default: such an object waits for
// no turn.
func urgent(s moqt.PublicationState, publisher uint8) bool {
	return s.Priority < moqt.DefaultPriority || publisher < moqt.DefaultPriority
}
