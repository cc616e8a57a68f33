package pace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// Burst is how many packets a write holds at most: as many as fit a datagram (RFC 2250 §2, and every IPTV receiver).
const Burst = 7

// Config says how a stream is sent.
type Config struct {
	// Rate is the rate of the multiplex in bit/s. 0: packets are sent as they lay between their PCRs, and nothing is filled.
	Rate int64
	// Delay is how long the first packet waits, and so how much later than another one a packet may come. Default: 1 s.
	Delay time.Duration
	// Buffer is how many bytes are held before the input waits. Default: 64 MiB.
	Buffer int64
	// SI is sent beside the stream. Default: nothing is.
	SI *Carousel
	// Log gets a line when the output pauses or its clock begins anew. Default: no log.
	Log *slog.Logger
	// Progress is called about twice a second. Default: nothing is.
	Progress func(Stats)
}

// Stats are the counts since the start.
type Stats struct {
	Packets int64 // sent, with those made here
	Null    int64 // of them null packets
	PCR     int64 // of them packets with a PCR that were made here
	Pauses  int64 // how often the input came so late that the output had to wait
	Anew    int64 // how often the clock of the output began anew, announced by discontinuity_indicator
	// Late is how much later than its PCRs said a packet was sent at most: with a rate that is how long the multiplex was full.
	Late time.Duration
}

// Run reads a transport stream from r, one in which packets follow one another without gaps, and writes it to w in its own time until r
// ends. Each write has one to Burst packets, with a rate always Burst.
func Run(ctx context.Context, c Config, r io.Reader, w io.Writer) (Stats, error) {
	if c.Delay == 0 {
		c.Delay = time.Second
	}
	if c.Buffer == 0 {
		c.Buffer = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &pacer{c: c, w: w, spans: newQueue(c.Buffer)}
	send := p.asSent
	if c.Rate > 0 {
		send = p.constant
	}
	g, ctx := errgroup.WithContext(ctx)
	if in, ok := r.(interface{ CloseWithError(error) error }); ok { // who writes into a pipe learns at once that the output has failed
		defer context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })()
	}
	if c.SI != nil {
		defer c.SI.close()
	}
	g.Go(func() error { return p.read(ctx, r) })
	g.Go(func() error { return send(ctx) })
	err := g.Wait()
	return p.stats, err
}

// pacer sends one stream. Its method read runs in one goroutine, asSent or constant in another.
type pacer struct {
	c     Config
	w     io.Writer
	spans *queue
	wall  wall

	out   []byte // of asSent and constant, like all that follows
	stats Stats
	told  time.Time
	shown time.Time
	need  load
}

// read moves the input into the queue, and observes when it comes.
func (p *pacer) read(ctx context.Context, r io.Reader) error {
	s := spanner{r: r}
	for {
		sp, err := s.next()
		if err != nil {
			p.spans.end(err) // told by the output, behind what came before
			return nil
		}
		if p.c.SI != nil {
			for i := range sp.packets {
				p.c.SI.watch(&sp.packets[i])
			}
		}
		p.wall.came(sp.end, time.Now())
		waited, err := p.spans.put(ctx, sp)
		if err != nil {
			return err
		}
		if waited || sp.jump {
			p.wall.waited()
		}
	}
}

// late is by how much a packet may miss its time without a pause: the clock of a machine under load is not better.
const late = 50 * time.Millisecond

// asSent sends packets as they lay between their PCRs.
func (p *pacer) asSent(ctx context.Context) error {
	var end clock.Ticks27
	first := true
	for {
		sp, err := p.spans.get(ctx)
		if err != nil {
			return p.over(err)
		}
		switch now := time.Now(); {
		case first:
			p.wall.anchor(sp.at, now.Add(p.c.Delay))
		case sp.jump:
			p.stats.Anew++
			at := p.wall.when(end)
			if now.Sub(at) > late { // nothing came for a while: what is held back for parts that come late is used up
				at = now.Add(p.c.Delay)
			}
			p.wall.anchor(sp.at, at)
		case now.Sub(p.wall.when(sp.at)) > late:
			p.stats.Pauses++
			p.tell("the input came too late, the output has paused", "for", (now.Sub(p.wall.when(sp.at)) + p.c.Delay).Round(time.Millisecond))
			p.wall.anchor(sp.at, now.Add(p.c.Delay))
		}
		first, end = false, sp.end
		for i := range sp.packets {
			if si := p.si(sp.time(i)); si != nil {
				if err := p.add(ctx, si, sp.time(i), false); err != nil {
					return err
				}
			}
			if err := p.add(ctx, &sp.packets[i], sp.time(i), i == len(sp.packets)-1 && p.spans.empty()); err != nil {
				return err
			}
		}
		p.spans.took(sp)
	}
}

// si is the next packet of SI if one is due.
func (p *pacer) si(t clock.Ticks27) *ts.Packet {
	if p.c.SI == nil {
		return nil
	}
	return p.c.SI.packet(t)
}

// add collects a packet, and writes what is collected if that is a burst, or nothing follows soon.
func (p *pacer) add(ctx context.Context, packet *ts.Packet, t clock.Ticks27, last bool) error {
	p.out = append(p.out, packet[:]...)
	if p.stats.Packets++; len(p.out) < Burst*ts.PacketSize && !last {
		return nil
	}
	return p.sendAt(ctx, p.wall.when(t))
}

// over writes what is left when the input has ended.
func (p *pacer) over(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return p.flush()
}

// sendAt writes what is collected once the time has come.
func (p *pacer) sendAt(ctx context.Context, t time.Time) error {
	if err := sleep(ctx, time.Until(t)); err != nil {
		return err
	}
	p.stats.Late = max(p.stats.Late, time.Since(t))
	return p.flush()
}

func (p *pacer) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.w.Write(p.out)
	p.out = p.out[:0]
	if now := time.Now(); p.c.Progress != nil && now.Sub(p.shown) > 500*time.Millisecond {
		p.shown = now
		p.c.Progress(p.stats)
	}
	if err != nil {
		return fmt.Errorf("paced output: %w", err)
	}
	return nil
}

// tell logs at most once in ten seconds.
func (p *pacer) tell(what string, args ...any) {
	if now := time.Now(); now.Sub(p.told) > 10*time.Second {
		p.told = now
		p.c.Log.Warn(what, args...)
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
