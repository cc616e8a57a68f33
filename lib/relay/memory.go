package relay

import (
	"math/bits"
	"sync"
)

// Payloads are read into memory that is used again once their group left memory and nobody is being sent them any more: with
// a new allocation for each, the garbage collector would be busy with little else.

// pooledFrom is the smallest payload whose memory is used again.
const pooledFrom = 4 << 10

// memory is the place of one payload.
type memory struct {
	b     []byte // as long as its class
	class int
}

// pools holds memory by class: eight sizes per power of two.
var pools [8 * 64]sync.Pool

// classOf returns the smallest class with n bytes, and its size.
func classOf(n int) (class, size int) {
	shift := max(bits.Len(uint(n-1))-4, 0) // three bits below the highest one
	steps := (n + 1<<shift - 1) >> shift
	return 8*shift + steps - 8, steps << shift
}

// take returns memory for n bytes, whose content is whatever it was.
func takeMemory(n int) *memory {
	if n < pooledFrom {
		return &memory{b: make([]byte, n), class: -1}
	}
	class, size := classOf(n)
	if m, ok := pools[class].Get().(*memory); ok {
		return m
	}
	return &memory{b: make([]byte, size), class: class}
}

// free gives it back. Nobody may use it any more. nil is allowed.
func (m *memory) free() {
	if m != nil && m.class >= 0 {
		pools[m.class].Put(m)
	}
}
