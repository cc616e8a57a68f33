package sim

import (
	"io"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// Reader is a receiver of a Mux that is not bound to real time. It is not for concurrent use.
type Reader struct {
	plan    *plan
	service int
	slot    slot
	pos     int64 // of the next packet; all packets since the Unix epoch are numbered
	end     int64
	rest    []byte // of a packet that a short Read cut
	one     ts.Packet
	err     error
}

// Reader receives what is broadcast from from up to to, as fast as it is read; a zero to never ends.
// Program selects one program with its tables, the way a tuner does: its PAT lists that program alone,
// null packets and the other programs are gone, the tables of the multiplex (PSIP, SI) stay. Program 0
// is the whole multiplex.
func (m *Mux) Reader(from, to time.Time, program uint16) *Reader {
	r := &Reader{}
	if r.plan, r.err = m.built(); r.err != nil {
		return r
	}
	if r.service, r.err = r.plan.service(program); r.err != nil {
		return r
	}
	r.pos, r.end = r.plan.position(from), int64(1)<<62
	if !to.IsZero() {
		r.end = r.plan.position(to)
	}
	r.begin()
	return r
}

// position is the number of the first packet that is sent at t or later. Packet number q is sent at
// slot q/packets, a share of q%packets into it.
func (p *plan) position(t time.Time) int64 {
	at := clock.TicksAt(t)
	ticks := max(int64(at+p.ahead(at)), 10*clock.Hz) // streams start before they are decoded
	n, in := ticks/slotTicks, ticks%slotTicks
	return n*p.packets + (in*p.packets+slotTicks-1)/slotTicks
}

// timeOf is when packet number q is sent.
func (p *plan) timeOf(q int64) time.Time {
	n, at := q/p.packets, q%p.packets
	return p.utc(clock.Ticks(n*slotTicks + at*slotTicks/p.packets))
}

// driftFrom is 2026-01-01, when a clock that drifts is right.
const driftFrom = clock.Ticks(1_767_225_600 * clock.Hz)

// ahead is how far the broadcast's clock, which counts slots, is ahead of UTC.
func (p *plan) ahead(utc clock.Ticks) clock.Ticks {
	return (utc - driftFrom) * clock.Ticks(p.mux.Habits.Drift) / 1_000_000
}

// utc is the time when the broadcast's clock is at t.
func (p *plan) utc(t clock.Ticks) time.Time {
	d := clock.Ticks(p.mux.Habits.Drift)
	return (t - (t-driftFrom)*d/(1_000_000+d)).Time()
}

// slotUTC is the time that the tables of slot n give: its start.
func (p *plan) slotUTC(n int64) time.Time { return p.utc(clock.Ticks(n * slotTicks)) }

// begin lays out the slot of r.pos and passes over what comes before.
func (r *Reader) begin() {
	r.plan.begin(&r.slot, r.pos/r.plan.packets)
	for range r.pos % r.plan.packets {
		r.plan.skip(&r.slot)
	}
}

// Position is the number of the next packet, counted over the whole multiplex since the Unix epoch.
func (r *Reader) Position() int64 { return r.pos }

// Time is when the next packet is broadcast.
func (r *Reader) Time() time.Time {
	if r.plan == nil {
		return time.Time{}
	}
	return r.plan.timeOf(r.pos)
}

// fill writes whole packets from before end into b, and returns how many bytes.
func (r *Reader) fill(b []byte, end int64) (n int) {
	for r.pos < end && len(b)-n >= ts.PacketSize {
		if r.slot.at == len(r.slot.layout) {
			r.plan.begin(&r.slot, r.slot.number+1)
		}
		if r.plan.send(&r.slot, r.service, (*ts.Packet)(b[n:])) {
			n += ts.PacketSize
		}
		r.pos++
	}
	return n
}

// Read fills b with packets; it cuts one only if b is not a multiple of 188 bytes long.
func (r *Reader) Read(b []byte) (int, error) { return r.read(b, r.end) }

func (r *Reader) read(b []byte, end int64) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	n = copy(b, r.rest)
	r.rest = r.rest[n:]
	n += r.fill(b[n:], end)
	if n < len(b) && len(r.rest) == 0 && r.fill(r.one[:], end) > 0 {
		c := copy(b[n:], r.one[:])
		r.rest = r.one[c:]
		n += c
	}
	if n == 0 && r.pos >= r.end && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Until appends to b what is broadcast before t and not read yet, at most as much as fits without
// growing b.
func (r *Reader) Until(b []byte, t time.Time) ([]byte, error) {
	if r.err != nil {
		return b, r.err
	}
	end := min(r.plan.position(t), r.end)
	n := r.fill(b[len(b):cap(b)], end)
	if n == 0 && r.pos >= r.end {
		return b, io.EOF
	}
	return b[:len(b)+n], nil
}
