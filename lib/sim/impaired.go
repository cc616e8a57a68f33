package sim

import (
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// impaired is a transport stream on its way through an Impair.
type impaired struct {
	cfg   Impair
	in    *ts.Reader
	out   []byte // made and not read yet
	rest  []byte // of out
	err   error
	known *classifier
	time  streamTime

	loss, burstEnd, tei, flip, cut, timeLoss chance
	inBurst                                  bool
	jitter                                   *rand.Rand

	late    []latePacket
	restamp [ts.NumPIDs]counter
	pat     rewriter
	pmt     map[ts.PID]*rewriter
}

// latePacket is a time table that waits for its delayed turn.
type latePacket struct {
	due time.Duration
	ts.Packet
}

// counter makes continuity counters anew for a PID that packets are moved on.
type counter struct {
	on bool
	cc uint8
}

// Reader is r impaired. It hands on what r delivers at once; its packets are 188 bytes long.
func (im Impair) Reader(r io.Reader) io.Reader {
	if err := im.Validate(); err != nil {
		return failed{err}
	}
	burst := max(im.Burst, 1)
	p := &impaired{
		cfg: im, in: ts.NewReader(r), known: newClassifier(), pmt: map[ts.PID]*rewriter{},
		loss:     newChance(im.Seed, 1, lossStart(im.Loss, burst)),
		burstEnd: newChance(im.Seed, 2, 1/float64(burst)),
		tei:      newChance(im.Seed, 3, im.TEI),
		flip:     newChance(im.Seed, 4, im.Flip),
		cut:      newChance(im.Seed, 5, im.Cut),
		timeLoss: newChance(im.Seed, 6, im.TimeLoss),
		jitter:   rand.New(rand.NewPCG(im.Seed, 7)),
	}
	if im.TimeJitter > 0 {
		// A multiplexer that sends tables late counts them as it sends them.
		p.restamp[ts.PIDPSIP].on, p.restamp[ts.PIDTDT].on = true, true
	}
	return p
}

// lossStart is the chance that a packet outside of a burst starts one, so that the share lost is rate.
func lossStart(rate float64, burst int) float64 {
	if rate >= 1 {
		return 1
	}
	return min(1, rate/(float64(burst)*(1-rate)+rate))
}

// failed is a reader that gives one error.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

func (p *impaired) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.out = p.out[:0]
		run, stride, err := p.in.NextRun()
		var lost *ts.SyncError
		if err != nil && !errors.As(err, &lost) {
			p.err = err
			if err == io.EOF {
				for i := range p.late {
					p.send(&p.late[i].Packet, SI)
				}
			}
		}
		for ; len(run) >= ts.PacketSize && p.err == nil; run = run[min(stride, len(run)):] {
			p.take(*(*ts.Packet)(run))
		}
		p.rest = p.out
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// take is what happens before reception: what the transmitter or a remultiplexer does to a packet.
func (p *impaired) take(q ts.Packet) {
	p.time.see(&q)
	now := p.time.elapsed
	if p.cfg.Drop > 0 && now >= p.cfg.Drop {
		p.err = io.EOF
		return
	}
	class := p.known.of(&q)
	pid := q.PID()
	for len(p.late) > 0 && p.late[0].due <= now {
		p.send(&p.late[0].Packet, SI)
		p.late = p.late[1:]
	}
	switch {
	case p.cfg.StripNull && class&Null != 0, p.cfg.StripSI && class&SI != 0:
		return
	case p.cfg.RewritePAT && pid == ts.PIDPAT:
		p.pat.rewrite(&q, func(b []byte) []byte { return remakePAT(b, p.cfg.TSID) }, func(q *ts.Packet) { p.send(q, class) })
		return
	case p.cfg.RewritePMT && p.known.pmt[pid]:
		r := p.pmt[pid]
		if r == nil {
			r = &rewriter{}
			p.pmt[pid] = r
		}
		r.rewrite(&q, newVersion, func(q *ts.Packet) { p.send(q, class) })
		return
	case p.cfg.TimeJitter > 0 && isTime(&q):
		due := now + time.Duration(p.jitter.Int64N(int64(p.cfg.TimeJitter)))
		i := len(p.late)
		for i > 0 && p.late[i-1].due > due {
			i--
		}
		p.late = append(p.late, latePacket{})
		copy(p.late[i+1:], p.late[i:])
		p.late[i] = latePacket{due, q}
		return
	}
	p.send(&q, class)
}

// send is reception: what reaches the receiver, and how.
func (p *impaired) send(q *ts.Packet, class Class) {
	if c := &p.restamp[q.PID()]; c.on && q.HasPayload() {
		q.SetContinuity(c.cc)
		c.cc++
	}
	// Every chance is drawn for every packet it is about, whatever the others say: they stay independent.
	lost := isTime(q) && p.timeLoss.hit()
	if p.cfg.LossOn == AllClasses || p.cfg.LossOn&class != 0 {
		lost = p.lose() || lost
	}
	if p.stalled() {
		lost = true
	}
	tei, flip, cut := p.tei.hit(), p.flip.hit(), p.cut.hit()
	if lost {
		return
	}
	if tei {
		q.SetTransportError(true)
		q[4+p.tei.rng.IntN(ts.PacketSize-4)] ^= byte(1 + p.tei.rng.IntN(255))
	}
	if flip {
		q[4+p.flip.rng.IntN(ts.PacketSize-4)] ^= 1 << p.flip.rng.IntN(8)
	}
	if cut {
		from := p.cut.rng.IntN(ts.PacketSize)
		n := min(1+p.cut.rng.IntN(ts.PacketSize-1), ts.PacketSize-from)
		p.out = append(append(p.out, q[:from]...), q[from+n:]...)
		return
	}
	p.out = append(p.out, q[:]...)
}

// lose tells whether a packet that can be lost is.
func (p *impaired) lose() bool {
	if !p.inBurst && !p.loss.hit() {
		return false
	}
	p.inBurst = !p.burstEnd.hit()
	return true
}

// stalled tells whether reception is in one of its pauses, the first after StallEvery.
func (p *impaired) stalled() bool {
	every, now := p.cfg.StallEvery, p.time.elapsed
	return every > 0 && now >= every && now%every < p.cfg.StallFor
}

// isTime tells whether q starts an STT, TDT or TOT.
func isTime(q *ts.Packet) bool {
	pid := q.PID()
	if pid != ts.PIDPSIP && pid != ts.PIDTDT || !q.UnitStart() {
		return false
	}
	b := q.Payload()
	if len(b) < 2 || 1+int(b[0]) >= len(b) {
		return false
	}
	switch id := b[1+int(b[0])]; id {
	case psi.TableSTT:
		return pid == ts.PIDPSIP
	case psi.TableTDT, psi.TableTOT:
		return pid == ts.PIDTDT
	}
	return false
}

// streamTime counts how much of a stream has passed, by the first PCR found in it.
type streamTime struct {
	pid     ts.PID
	started bool
	last    clock.PCR
	elapsed time.Duration
	ticks   clock.Ticks27
}

func (t *streamTime) see(q *ts.Packet) {
	v, ok := q.PCR()
	if !ok || t.started && q.PID() != t.pid {
		return
	}
	// A jump is no time that has passed.
	if d := clock.PCR(v).Sub(t.last); t.started && d > 0 && d < clock.SystemHz {
		t.ticks += d
		t.elapsed = t.ticks.Duration()
	}
	t.pid, t.last, t.started = q.PID(), clock.PCR(v), true
}
