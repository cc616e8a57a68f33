package repair

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/reedsolomon"
)

// codes are the Reed-Solomon codes by their numbers of data and parity shards: at most maxGroup × maxParity.
type codes struct {
	mu sync.Mutex // guards what follows; no other lock is taken under it
	by map[[2]int]reedsolomon.Encoder
}

func (c *codes) get(k, m int) (reedsolomon.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.by[[2]int{k, m}]; e != nil {
		return e, nil
	}
	e, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, err
	}
	if c.by == nil {
		c.by = map[[2]int]reedsolomon.Encoder{}
	}
	c.by[[2]int{k, m}] = e
	return e, nil
}

// fill puts a datagram into a buffer in the form that it has as a shard: behind its length.
func fill(buf, inner []byte) {
	binary.BigEndian.PutUint16(buf, uint16(len(inner)))
	copy(buf[2:], inner)
}

// shard is the buffer of a datagram as one of size bytes, or nil if it does not fit.
func shard(buf []byte, size int) []byte {
	n := 2 + int(binary.BigEndian.Uint16(buf))
	if n > size || size > len(buf) {
		return nil
	}
	clear(buf[n:size])
	return buf[:size]
}

// content is the datagram in a shard, or nil if it is none.
func content(shard []byte) []byte {
	if len(shard) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(shard))
	if n == 0 || n > len(shard)-2 {
		return nil
	}
	return shard[2 : 2+n]
}
