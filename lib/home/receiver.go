package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/exit"
)

const (
	firstPause   = time.Second
	longestPause = time.Minute
	// settledAfter is how long something must have run for the next pause to be short again.
	settledAfter = time.Minute
	// silentAfter is how long nothing may come until a channel counts as off the air, and devices are looked for again.
	silentAfter = 10 * time.Second
	// turnTime is how long a receiver may try to get its tuner before the next one tries.
	turnTime = 10 * time.Second
)

// pauses are those between attempts: they double.
type pauses struct{ next time.Duration }

// after is the pause after an attempt that lasted so long.
func (p *pauses) after(ran time.Duration) time.Duration {
	if ran > settledAfter || p.next == 0 {
		p.next = firstPause
	}
	d := p.next
	p.next = min(2*p.next, longestPause)
	return d
}

// sleep waits for d, and reports whether it came to that.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// receiver keeps an ec-tune running for one use of a tuner.
type receiver struct {
	h     *home
	after <-chan struct{} // closed once those before had their turn

	settled func()        // ends this one's turn
	turn    chan struct{} // closed by settled

	mu   sync.Mutex // guards plan and why
	plan Receiver
	why  string // it receives nothing

	last   atomic.Int64 // when something came last, Unix nanoseconds
	bytes  atomic.Int64
	starts atomic.Int64

	health string // the file that ec-tune keeps; "": none

	queues atomic.Pointer[[]*queue]
	stop   context.CancelFunc
	done   chan struct{}
}

func newReceiver(h *home, plan Receiver, after <-chan struct{}) *receiver {
	turn := make(chan struct{})
	r := &receiver{h: h, after: after, turn: turn, settled: sync.OnceFunc(func() { close(turn) }), plan: plan, done: make(chan struct{})}
	r.queues.Store(new([]*queue))
	if h.cfg.State != "" {
		h.made++
		r.health = filepath.Join(h.cfg.State, fmt.Sprint("tuner", h.made))
	}
	return r
}

// now is the plan, which may have other channels than at the start.
func (r *receiver) now() Receiver {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan
}

func (r *receiver) setWhy(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = why
}

func (r *receiver) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why
}

// feed says which channels get what comes.
func (r *receiver) feed(plan Receiver, channels map[string]*publisher) {
	r.mu.Lock()
	r.plan = plan
	r.mu.Unlock()
	var all []*queue
	for _, c := range plan.Channels {
		all = append(all, channels[c.Number].queue)
		if r.health != "" {
			r.link(r.h.cfg.healthOf(c.Number))
		}
	}
	r.queues.Store(&all)
}

// link makes a name one of the file in which ec-tune keeps how this tuner receives, whatever it was of before.
func (r *receiver) link(name string) {
	next := name + ".next"
	os.Remove(next)
	if err := errors.Join(os.Symlink(filepath.Base(r.health), next), os.Rename(next, name)); err != nil {
		r.h.log.Warn("the health track does not know how the tuner receives", "err", err)
	}
}

// silent is for how long nothing came.
func (r *receiver) silent(now time.Time) time.Duration { return now.Sub(time.Unix(0, r.last.Load())) }

// took notes that something came.
func (r *receiver) took(n int) {
	r.last.Store(time.Now().UnixNano())
	r.bytes.Add(int64(n))
	r.settled()
}

// run keeps ec-tune running until ctx ends.
func (r *receiver) run(ctx context.Context) {
	defer close(r.done)
	defer r.settled()
	select {
	case <-r.after:
	case <-ctx.Done():
		return
	}
	defer time.AfterFunc(turnTime, r.settled).Stop()
	say := r.h.say(func() []any { return []any{"device", r.now().ID, "receives", r.now().Address} }, func(e event) {
		if why := e.text("err"); why != "" {
			r.setWhy(why)
		}
	})
	var p pauses
	for ctx.Err() == nil {
		began, had := time.Now(), r.bytes.Load()
		plan := r.now()
		r.starts.Add(1)
		split := &splitter{queues: func() []*queue { return *r.queues.Load() }}
		err := r.h.run.receive(ctx, r.h.cfg.tuneArgs(plan, r.health), tap{split, r}, say)
		split.cut()
		if ctx.Err() != nil {
			return
		}
		r.settled()
		ran := time.Since(began)
		if r.bytes.Load() == had {
			ran = 0 // however long it tried
		}
		if err != nil {
			r.setWhy(err.Error())
			r.h.tell(err, "device", plan.ID, "receives", plan.Address)
		}
		pause := p.after(ran)
		if e, ok := errors.AsType[*ended](err); ok && slices.Contains([]int{exit.Usage, exit.NotAllowed, exit.Config}, e.Code) {
			pause = longestPause // does not get better by itself
		}
		if plan.Whole && r.bytes.Load() == 0 {
			r.h.look(plan)
		} else {
			r.h.look(Receiver{})
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// tap counts what goes through.
type tap struct {
	*splitter
	r *receiver
}

func (t tap) Write(p []byte) (int, error) {
	t.r.took(len(p))
	return t.splitter.Write(p)
}
