package ts

import "io"

const (
	aheadBlocks = 4                     // blocks in all: one with the packets at hand, the others read ahead
	aheadRoom   = (proofRun + 1) * 204  // before what a read delivers, for what is left of the block before
	aheadSize   = aheadRoom + blockSize // of a block
)

// ahead reads an input in a goroutine of its own.
type ahead struct {
	full  chan block  // what was read, closed after the last
	empty chan []byte // to be read into
	buf   []byte      // of the block with the packets at hand
}

// block is what one read delivered, behind aheadRoom.
type block struct {
	buf []byte
	n   int
	err error
}

// ReadAhead reads the input in a goroutine of its own while the caller looks at packets. It is called before the first packet, for an
// input that lies there whole, such as a file: on one that others send, the goroutine waits as long as they do. stop ends the
// goroutine and waits for that; no packets come after.
func (r *Reader) ReadAhead() (stop func()) {
	a := &ahead{full: make(chan block, aheadBlocks), empty: make(chan []byte, aheadBlocks)}
	for range aheadBlocks {
		a.empty <- make([]byte, aheadSize)
	}
	r.ahead = a
	go a.run(r.r)
	return func() {
		close(a.empty)
		for range a.full {
		}
		r.ahead, r.err, r.pos, r.end = nil, io.ErrClosedPipe, 0, 0
	}
}

func (a *ahead) run(r io.Reader) {
	defer close(a.full)
	for buf := range a.empty {
		n, err := read(r, buf[aheadRoom:])
		a.full <- block{buf, n, err}
		if err != nil {
			return
		}
	}
}

// next returns rest and, behind it, what the next read delivered.
func (a *ahead) next(rest []byte) ([]byte, error) {
	b := <-a.full
	buf := b.buf[:aheadRoom+b.n]
	if at := aheadRoom - len(rest); at >= 0 {
		buf = buf[at:]
		copy(buf, rest)
	} else { // a search that found no packets yet
		buf = append(append([]byte(nil), rest...), buf[aheadRoom:]...)
	}
	if a.buf != nil {
		a.empty <- a.buf
	}
	a.buf = b.buf
	return buf, b.err
}
