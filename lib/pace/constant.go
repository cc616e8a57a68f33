package pace

import (
	"context"
	"errors"
	"io"
	"math/bits"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

const (
	// period is how often a PCR is sent in a multiplex of constant rate: below the 40 ms of TS 101 154 §4.1.5.3, whatever the rate.
	period = 35 * clock.SystemMillisecond
	// slack is how late packets may be sent where the multiplex is full. The canonical stream has its PCRs 1 s before the decoding times of
	// the cut PID (docs/format/chunk.md), and sound may be needed some 100 ms before the picture beside it.
	slack = 500 * clock.SystemMillisecond
	// ticksOfPacket is how many ticks a packet takes at 1 bit/s.
	ticksOfPacket = ts.PacketSize * 8 * clock.SystemHz
)

// slots counts the places of packets in a multiplex of constant rate.
type slots struct {
	rate  uint64
	media clock.Ticks27 // of slot 0
	n     uint64        // the next slot
}

// time is when the next slot begins, rounded down to a tick: the PCR there is off by less than 37 ns.
func (s *slots) time() clock.Ticks27 {
	hi, lo := bits.Mul64(s.n, ticksOfPacket)
	q, _ := bits.Div64(hi, lo, s.rate) // hi < rate for 400 million seconds
	return s.media + clock.Ticks27(q)
}

// mux is a multiplex of constant rate.
type mux struct {
	p     *pacer
	s     slots
	cur   *span // whose packets are being sent, from i on
	i     int
	end   clock.Ticks27 // of the span before
	pid   ts.PID        // of the PCRs
	cc    uint8         // of its last packet with payload
	pcrAt clock.Ticks27 // when the last PCR was sent
	first bool          // no PCR was sent on this clock
	over  error         // what the input ended with
}

// constant sends packets in a multiplex of constant rate.
func (p *pacer) constant(ctx context.Context) error {
	sp, err := p.spans.get(ctx)
	if err != nil {
		return p.over(err)
	}
	m := &mux{p: p, s: slots{rate: uint64(p.c.Rate)}}
	m.take(sp)
	p.wall.anchor(sp.time(0), time.Now().Add(p.c.Delay))
	m.begin(sp.time(0))
	for m.over == nil || m.cur != nil {
		for range Burst {
			m.slot()
		}
		if err := p.sendAt(ctx, p.wall.when(m.s.time())); err != nil {
			return err
		}
	}
	if !errors.Is(m.over, io.EOF) {
		return m.over
	}
	return nil
}

// begin makes the next slot the one of a time, on a clock that begins there.
func (m *mux) begin(t clock.Ticks27) {
	m.s.media, m.s.n, m.first = t, 0, true
}

// anew begins the clock anew: the next slot is the one of a time, and is sent when it would have been sent anyway.
func (m *mux) anew(t clock.Ticks27) {
	m.p.stats.Anew++
	at := m.p.wall.when(m.s.time())
	m.p.wall.anchor(t, at)
	m.begin(t)
}

func (m *mux) take(sp *span) {
	m.cur, m.i = sp, 0
	m.pid = sp.packets[sp.pcr].PID()
}

// slot fills the next slot: with a PCR if one is due, with the next packet of the stream if its
// time has come, else with SI or a null packet.
func (m *mux) slot() {
	p := m.p
	m.next()
	t := m.s.time()
	var made ts.Packet
	send := &made
	switch next := m.due(t); {
	case m.first || t-m.pcrAt >= period:
		made.Fill(&ts.Header{PID: m.pid, Continuity: m.cc, HasPCR: true, PCR: uint64(clock.PCR(0).Add(t)), Discontinuity: m.first && p.stats.Anew > 0}, nil)
		m.first, m.pcrAt = false, t
		p.stats.PCR++
	case next != nil:
		send = next
		if next.PID() == m.pid && next.HasPayload() {
			m.cc = next.Continuity()
		}
		if next.SetPCR(uint64(clock.PCR(0).Add(t))) {
			m.pcrAt = t
		}
		p.stats.Late = max(p.stats.Late, (t - m.cur.time(m.i)).Duration())
		m.i++
	default:
		if send = p.si(t); send == nil {
			send = &made
			made.SetNull()
			p.stats.Null++
		}
	}
	p.stats.Packets++
	p.out = append(p.out, send[:]...)
	m.s.n++
}

// due is the packet of the stream that is to be sent at a time or before, nil if there is none.
func (m *mux) due(t clock.Ticks27) *ts.Packet {
	if m.cur == nil || m.cur.time(m.i) > t {
		return nil
	}
	return &m.cur.packets[m.i]
}

// next goes on to the next packet of the stream: PCRs are made anew, so those in packets without payload are left out.
func (m *mux) next() {
	for {
		for m.cur != nil && m.i < len(m.cur.packets) {
			if q := &m.cur.packets[m.i]; q.HasPayload() || !q.HasPCR() {
				return
			}
			m.i++
		}
		if m.cur != nil {
			m.end = m.cur.end
			m.p.spans.took(m.cur)
			m.cur = nil
		}
		if m.over != nil {
			return
		}
		sp, _, err := m.p.spans.try()
		if m.over = err; sp == nil {
			return
		}
		m.enter(sp)
	}
}

// enter takes a span, and sets the clock of the multiplex where the stream's is another, or the span has come too late.
func (m *mux) enter(sp *span) {
	p := m.p
	behind := m.s.time() - sp.at
	switch {
	case sp.jump && m.s.time()-m.end > slack: // nothing came for a while: what is held back for parts that come late is used up
		m.anew(sp.at - clock.TicksOf(p.c.Delay).Ticks27())
	case sp.jump:
		m.anew(sp.at - max(0, m.end-m.s.time())) // after the end of the clock before
	case behind > slack && p.need.over(p.c.Rate):
		p.tell("the rate of the multiplex is too low for the stream: its clock begins anew", "rate", p.c.Rate, "needed", p.need.rate())
		m.anew(sp.at)
	case behind > slack:
		p.stats.Pauses++
		p.tell("the input came too late, the output has paused", "for", behind.Duration().Round(time.Millisecond))
		m.anew(sp.at - clock.TicksOf(p.c.Delay).Ticks27())
	}
	p.need.add(sp)
	m.take(sp)
}
