package pace

import (
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// load measures the rate that a stream needs, over its last seconds.
type load struct {
	bits int64
	time clock.Ticks27
}

// memory is over how long the rate is measured.
const memory = 5 * clock.SystemHz

// add takes a span; older ones count less and less.
func (l *load) add(s *span) {
	length := s.end - s.at
	if length <= 0 || length > quiet {
		return
	}
	if l.time > memory {
		l.bits, l.time = l.bits/2, l.time/2
	}
	l.bits += int64(len(s.packets)) * ts.PacketSize * 8
	l.time += length
}

// rate is the rate of the stream in bit/s.
func (l *load) rate() int64 {
	if l.time == 0 {
		return 0
	}
	return int64(l.time.Rate(l.bits))
}

// over tells whether the stream needs more than a multiplex of this rate has.
func (l *load) over(rate int64) bool { return l.rate() > rate*95/100 }
