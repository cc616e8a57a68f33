package live

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// pooledFrom is the smallest payload whose memory is used again.
const pooledFrom = 4 << 10

// Payload is the memory of one payload. With a new allocation for each, the garbage collector would be busy with little else, so it is
// used again once nobody holds it: whoever makes one holds it, whoever else has slices of it retains it, and each releases it once.
// A nil Payload stands for memory that is left to the garbage collector; so is one that is never released.
type Payload struct {
	b     []byte // as long as its class
	class int    // negative: it is not used again
	refs  atomic.Int32
}

// NewPayload returns memory for n bytes, whose content is whatever it was, held by the caller.
func NewPayload(n int) *Payload {
	p := &Payload{class: -1}
	if n < pooledFrom {
		p.b = make([]byte, n)
	} else {
		class, size := classOf(n)
		if old, ok := pools[class].Get().(*Payload); ok {
			p = old
		} else {
			p.b, p.class = make([]byte, size), class
		}
	}
	p.refs.Store(1)
	return p
}

// Bytes is the memory.
func (p *Payload) Bytes() []byte { return p.b }

// Retain holds it once more.
func (p *Payload) Retain() {
	if p != nil {
		p.refs.Add(1)
	}
}

// Release gives up one hold. Who called it does not touch the memory any more.
func (p *Payload) Release() {
	if p != nil && p.refs.Add(-1) == 0 && p.class >= 0 {
		pools[p.class].Put(p)
	}
}

// pools holds memory by class: eight sizes per power of two.
var pools [8 * 64]sync.Pool

// classOf returns the smallest class with n bytes, and its size.
func classOf(n int) (class, size int) {
	shift := max(bits.Len(uint(n-1))-4, 0) // three bits below the highest one
	steps := (n + 1<<shift - 1) >> shift
	return 8*shift + steps - 8, steps << shift
}
