package pace

import (
	"errors"
	"fmt"
	"io"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ts"
)

// ErrInput means that the input is no transport stream, or one without a clock.
var ErrInput = exit.With(exit.BadData, errors.New("not a transport stream with a PCR"), "")

const (
	usual = 40 * clock.SystemMillisecond // between two PCRs (TS 101 154 §4.1.5.3)
	// quiet is how far apart two PCRs may lie without a hole between them (TR 101 290 §5.2.2, 2.3a).
	quiet = 100 * clock.SystemMillisecond
	// leap is how far a clock may run ahead from one PCR to the next and still be waited for.
	leap = 10 * clock.SystemHz
	// unclocked is how many bytes may come without a PCR.
	unclocked = 8 << 20
)

// span is the packets of a stream from one PCR to the next.
type span struct {
	at, end clock.Ticks27 // when the first one with a PCR, and the next span, are sent, as the PCRs count, without their wrap
	jump    bool          // at is on another clock than the end of the span before
	pcr     int           // which packet has the PCR
	packets []ts.Packet
	size    int64 // of all packets
}

// time is when packet i is sent: packets lie evenly between two PCRs (H.222.0 §2.4.2.2), but before a hole as close as before.
func (s *span) time(i int) clock.Ticks27 {
	length := s.end - s.at
	if length > quiet {
		length = usual
	}
	return s.at + length*clock.Ticks27(i-s.pcr)/clock.Ticks27(len(s.packets)-s.pcr)
}

// spanner makes spans of packets.
type spanner struct {
	r    io.Reader
	cur  *span
	pcr  clock.PCR
	last clock.Ticks27 // how long the span before took
	done bool
}

// next returns the next span, whose end is known once the PCR behind has come, and io.EOF behind the last one.
func (s *spanner) next() (*span, error) {
	if s.done {
		return nil, io.EOF
	}
	if s.cur == nil {
		s.cur, s.last = &span{pcr: -1}, usual
	}
	for {
		var p ts.Packet
		switch _, err := io.ReadFull(s.r, p[:]); {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			s.done = true
			if len(s.cur.packets) == 0 && s.cur.pcr < 0 {
				return nil, io.EOF
			}
			if s.cur.pcr < 0 {
				return nil, ErrInput
			}
			s.cur.end = s.cur.at + s.last
			return s.cur, nil
		case err != nil:
			return nil, err
		case p[0] != ts.SyncByte:
			return nil, fmt.Errorf("%w: byte 0x%02x where a packet begins", ErrInput, p[0])
		}
		if done := s.add(&p); done != nil {
			return done, nil
		}
		if s.cur.size > unclocked {
			return nil, fmt.Errorf("%w: none in %d bytes", ErrInput, s.cur.size)
		}
	}
}

// add takes a packet, and returns the span that ended before the packet, if one did.
func (s *spanner) add(p *ts.Packet) (done *span) {
	if v, ok := p.PCR(); ok && !p.TransportError() {
		pcr := clock.PCR(v)
		step := pcr.Sub(s.pcr)
		switch {
		case s.cur.pcr < 0:
			s.cur.pcr, s.cur.at, s.cur.jump = len(s.cur.packets), clock.Ticks27(pcr), true
		case step == 0: // a duplicate
		default:
			done = s.cur
			jump := p.Discontinuity() || step < 0 || step > leap
			if s.cur = (&span{at: done.at + step, jump: jump}); jump {
				done.end, s.cur.at = done.at+s.last, clock.Ticks27(pcr)
			} else {
				done.end = s.cur.at
				if step <= quiet {
					s.last = step
				}
			}
		}
		s.pcr = pcr
	}
	s.cur.packets = append(s.cur.packets, *p)
	s.cur.size += ts.PacketSize
	return done
}
