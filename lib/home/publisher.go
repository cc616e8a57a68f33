package home

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/exit"
)

// publisher keeps ec-chop and ec-pub running for one channel.
type publisher struct {
	h      *home
	number string
	queue  *queue
	stop   context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex // guards what follows
	channel   Channel
	again     context.CancelFunc  // ends the programs, so that they start with other flags
	relays    map[string]struct{} // that are connected
	namespace string              // of the broadcast, or else of the source; "" before anything is published
	named     time.Time           // when a namespace was heard first
	why       string              // no relay is connected

	starts, dropped atomic.Int64

	// What home.tick alone touches.
	onAir     bool
	since     time.Time     // of onAir
	total     time.Duration // on the air before since
	offs      int           // how often the channel went off the air
	lastWhy   string
	announced bool
}

func newPublisher(h *home, c Channel) *publisher {
	return &publisher{h: h, number: c.Number, channel: c, queue: newQueue(), done: make(chan struct{}), relays: map[string]struct{}{}}
}

// set takes what the plan says of the channel now. Another program number needs another ec-chop.
func (p *publisher) set(c Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.channel.Program != c.Program && p.again != nil {
		p.again()
	}
	p.channel = c
}

// heard takes an event of ec-pub, whose words for the state of its relays these are.
func (p *publisher) heard(e event) {
	if e.program != "ec-pub" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	relay := e.text("relay")
	switch e.msg {
	case "connected":
		p.relays[relay] = struct{}{}
	case "publishing":
		if p.namespace == "" {
			p.named = time.Now()
		}
		if ns := e.text("namespace"); p.namespace == "" || !isSource(ns) {
			p.namespace = ns
		}
	case "relay lost, trying again", "relay not reached, trying again", "trying again":
		delete(p.relays, relay)
		p.why = e.text("err")
	}
}

// nameTime is how long a broadcast may take to tell its name: a TDT alone takes half a minute.
const nameTime = 45 * time.Second

// state is what is known of the programs. A channel whose broadcast tells no name is published under the source's.
func (p *publisher) state() (published bool, namespace, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	named := p.namespace != "" && (!isSource(p.namespace) || time.Since(p.named) > nameTime)
	return len(p.relays) > 0 && named, p.namespace, p.why
}

// run keeps the programs running until ctx ends.
func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	say := p.h.say(func() []any { return []any{"channel", p.number} }, p.heard)
	var pause pauses
	for ctx.Err() == nil {
		began := time.Now()
		running, again := context.WithCancel(ctx)
		p.mu.Lock()
		c := p.channel
		p.again = again
		clear(p.relays)
		p.namespace = ""
		p.mu.Unlock()
		p.queue.open()
		p.starts.Add(1)
		err := p.h.run.publish(running, p.h.cfg.chopArgs(c), p.h.cfg.pubArgs(c), p.queue, say)
		p.queue.close()
		changed := running.Err() != nil
		again()
		p.mu.Lock()
		clear(p.relays)
		if err != nil {
			p.why = err.Error()
		}
		p.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return
		case changed:
			continue
		}
		wait := pause.after(time.Since(began))
		if err != nil {
			p.h.tell(err, "channel", p.number)
			if e, ok := errors.AsType[*ended](err); ok && slices.Contains([]int{exit.Usage, exit.NotAllowed, exit.Config}, e.Code) {
				wait = longestPause
			}
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}
