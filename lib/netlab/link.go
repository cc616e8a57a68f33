package netlab

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// Counts are what became of the packets of one direction.
type Counts struct {
	Sent      int64 `json:"sent"`
	Bytes     int64 `json:"bytes"`
	Delivered int64 `json:"delivered"`
	Lost      int64 `json:"lost"`      // by chance
	Full      int64 `json:"full"`      // the queue was full
	Down      int64 `json:"down"`      // the link was down
	Reordered int64 `json:"reordered"` // were overtaken
}

// maxHeld bounds the bytes that a direction holds.
const maxHeld = 256 << 20

// Direction carries packets one way. Its methods may be called concurrently.
type Direction struct {
	out func([]byte) // gets each packet when its time has come

	mu      sync.Mutex // guards what follows
	p       Params
	chance  *rand.Rand
	counts  Counts
	losing  int       // packets that are still to be lost of a burst
	busy    time.Time // until when the rate is used up
	last    time.Time // when the packet before leaves
	waiting packets
	held    int64
	number  int64
	timer   *time.Timer
	closed  bool
}

// NewDirection makes a direction whose packets go to out, one after another.
func NewDirection(seed uint64, p Params, out func([]byte)) *Direction {
	return &Direction{out: out, p: p, chance: rand.New(rand.NewPCG(seed, 0x6e65746c6162))}
}

// packet is one that is on its way.
type packet struct {
	at     time.Time
	number int64 // of two that are due at once the first goes first
	b      []byte
}

type packets []packet

func (q packets) Len() int { return len(q) }
func (q packets) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].number < q[j].number
}
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *packets) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = packet{}
	*q = old[:len(old)-1]
	return x
}

// Change applies a text as Params.Set does. What is on its way stays on its way.
func (d *Direction) Change(text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.p
	if err := p.Set(text); err != nil {
		return err
	}
	d.p = p
	return nil
}

// Counts tells what became of the packets so far.
func (d *Direction) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// Send takes a packet, which it copies.
func (d *Direction) Send(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.counts.Sent++
	d.counts.Bytes += int64(len(b))
	switch {
	case d.closed:
		return
	case d.p.Down:
		d.counts.Down++
		return
	case d.lost():
		d.counts.Lost++
		return
	}
	at := now
	if d.p.Rate > 0 {
		begin := now
		if d.busy.After(now) {
			begin = d.busy
		}
		queue := d.p.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if begin.Sub(now) > queue {
			d.counts.Full++
			return
		}
		d.busy = begin.Add(time.Duration(float64(len(b)*8) / float64(d.p.Rate) * float64(time.Second)))
		at = d.busy
	}
	if d.held+int64(len(b)) > maxHeld {
		d.counts.Full++
		return
	}
	at = at.Add(d.p.Delay)
	if d.p.Jitter > 0 {
		at = at.Add(time.Duration(d.chance.Int64N(int64(d.p.Jitter))))
	}
	if at.Before(d.last) {
		at = d.last
	}
	if d.p.Reorder > 0 && d.chance.Float64() < d.p.Reorder {
		at = at.Add(reorderBy)
		d.counts.Reordered++
	} else {
		d.last = at
	}
	d.number++
	d.held += int64(len(b))
	heap.Push(&d.waiting, packet{at, d.number, append([]byte(nil), b...)})
	d.arm(now)
}

// lost throws the dice for a packet; mu is held.
func (d *Direction) lost() bool {
	if d.losing > 0 {
		d.losing--
		return true
	}
	burst := max(d.p.Burst, 1)
	begins := d.p.Loss / float64(burst)
	if d.p.Loss < 1 { // of the packets between bursts, so that the share of all is Loss
		begins = d.p.Loss / (float64(burst) - float64(burst-1)*d.p.Loss)
	}
	if d.p.Loss == 0 || d.chance.Float64() >= begins {
		return false
	}
	d.losing = burst - 1
	return true
}

// arm sees to it that deliver runs when the next packet is due; mu is held.
func (d *Direction) arm(now time.Time) {
	if len(d.waiting) == 0 || d.closed {
		return
	}
	wait := d.waiting[0].at.Sub(now)
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.deliver)
		return
	}
	d.timer.Reset(wait)
}

// deliver gives out what is due.
func (d *Direction) deliver() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for len(d.waiting) > 0 && !d.waiting[0].at.After(now) && !d.closed {
		p := heap.Pop(&d.waiting).(packet)
		d.held -= int64(len(p.b))
		d.counts.Delivered++
		d.out(p.b)
	}
	d.arm(now)
}

// Close drops what is on its way.
func (d *Direction) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.waiting = nil
}
