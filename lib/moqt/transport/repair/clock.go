package repair

import "time"

// How often paths are looked at: those on which something is repaired, and the others.
const (
	tickBusy = 4 * time.Millisecond
	tickIdle = 25 * time.Millisecond
	forget   = 5 * time.Minute // a path from which nothing came
)

// wake makes the clock run, or run faster.
func (c *Conn) wake() {
	c.clockMu.Lock()
	defer c.clockMu.Unlock()
	if c.closed {
		return
	}
	if c.stop == nil {
		c.stop, c.kick = make(chan struct{}), make(chan struct{}, 1)
		c.ticking.Go(c.run)
	}
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// run ticks as long as there are paths or handshakes, and waits to be woken otherwise.
func (c *Conn) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.kick:
		case <-timer.C:
		}
		if wait := c.tick(); wait > 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// tick looks at every path and returns when to do so again; 0: when woken.
func (c *Conn) tick() time.Duration {
	offers := c.greet()
	c.mu.RLock()
	all := append(c.ticked[:0], c.all...)
	c.mu.RUnlock()
	c.ticked = all
	wait := time.Duration(0)
	if len(all) > 0 || offers {
		wait = tickIdle
	}
	now := c.now()
	for _, p := range all {
		if p.tick() {
			wait = tickBusy
		}
		if p.idle(now) {
			c.mu.Lock()
			c.remove(p)
			c.mu.Unlock()
		}
	}
	clear(all)
	c.interrupt()
	return wait
}
