package ts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	blockSize = 128 << 10 // one read asks for so much, which stays in a core's cache; what it delivers is handed on at once
	searchMax = 64 << 10  // how far the first packet may lie from the start
	proofRun  = 5         // sync bytes in a row that prove a framing
	resyncRun = 3         // sync bytes in a row that prove a framing already known
)

var strides = [...]int{188, 192, 204}

// SyncError says that bytes were skipped because no packet started where one was due. It is not fatal:
// the next call goes on. The packet before Offset may be torn. Skipped of exactly one stride means a
// single packet whose sync byte was damaged.
type SyncError struct {
	Offset  int64 // of the first byte skipped
	Skipped int64
}

func (e *SyncError) Error() string {
	return fmt.Sprintf("lost sync at byte %d, skipped %d bytes", e.Offset, e.Skipped)
}

// Reader finds the packets in a byte stream. It reads in large blocks but hands on what one read
// delivered before it reads again, and what it returns does not depend on how reads are cut.
type Reader struct {
	r      io.Reader
	buf    []byte
	pos    int   // of the next packet's sync byte; may lie beyond end
	end    int   // of the bytes read
	base   int64 // stream offset of buf[0]
	stride int   // 0 until found
	lost   int64 // offset where sync was lost, −1 while in sync
	tail   int
	err    error  // from r, or final
	ahead  *ahead // with ReadAhead, which reads for it
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return newReader(r, blockSize) }

func newReader(r io.Reader, block int) *Reader {
	return &Reader{r: r, buf: make([]byte, block), lost: -1}
}

// Next returns the next packet, valid until the next call. Errors: *SyncError (go on), an error that
// Is ErrNotTS or ErrEmpty, io.EOF, or what the underlying reader said.
func (r *Reader) Next() (*Packet, error) {
	for {
		if r.end-r.pos >= PacketSize && r.stride != 0 {
			if b := r.buf[r.pos:]; b[0] == SyncByte && r.lost < 0 {
				r.pos += r.stride
				return (*Packet)(b), nil
			}
		}
		if err := r.advance(); err != nil {
			return nil, err
		}
	}
}

// NextRun returns as many packets as are at hand: run[i·stride : i·stride+188] is the i-th, and the last
// ends the run. It is valid until the next call. Errors are those of Next.
//
//	for ; len(run) >= ts.PacketSize; run = run[min(stride, len(run)):] {
//		p := (*ts.Packet)(run)
func (r *Reader) NextRun() (run []byte, stride int, err error) {
	for {
		if r.stride != 0 && r.lost < 0 {
			start, buf := r.pos, r.buf[:r.end]
			for r.end-r.pos >= PacketSize && buf[r.pos] == SyncByte {
				r.pos += r.stride
			}
			if r.pos > start {
				return buf[start : r.pos-r.stride+PacketSize], r.stride, nil
			}
		}
		if err := r.advance(); err != nil {
			return nil, r.stride, err
		}
	}
}

// Offset is where in the stream the next packet is due.
func (r *Reader) Offset() int64 { return r.base + int64(r.pos) }

// Stride is the distance between packets: 188, 192 or 204; 0 before the first packet.
func (r *Reader) Stride() int { return r.stride }

// Truncated is how many bytes of an incomplete last packet were left at the end of input.
func (r *Reader) Truncated() int { return r.tail }

// advance does whatever must happen before the next packet: read, find the framing, find it again.
func (r *Reader) advance() error {
	switch {
	case r.stride == 0:
		return r.detect()
	case r.lost >= 0:
		return r.resync()
	case r.end-r.pos >= PacketSize:
		r.lost = r.Offset()
		return r.resync()
	case r.err != nil:
		if r.err == io.EOF && r.end > r.pos {
			r.tail, r.pos = r.end-r.pos, r.end
		}
		return r.err
	}
	r.fill()
	return nil
}

// fill makes one read, or takes one that was made ahead, keeping the bytes from pos on. What went wrong is kept in err.
func (r *Reader) fill() {
	from := min(r.pos, r.end)
	rest := r.buf[from:r.end]
	r.base += int64(from)
	r.pos -= from
	if r.ahead != nil {
		r.buf, r.err = r.ahead.next(rest)
		r.end = len(r.buf)
		return
	}
	if r.end = len(rest); from > 0 {
		copy(r.buf, rest)
	}
	n, err := read(r.r, r.buf[r.end:])
	r.end += n
	r.err = err
}

// read makes one read that delivers something or fails.
func read(r io.Reader, b []byte) (int, error) {
	for range 100 {
		n, err := r.Read(b)
		if n < 0 || n > len(b) {
			n, err = 0, errors.New("reader returned an impossible count")
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// detect finds stride and position of the first packet. To be independent of read sizes it judges a
// position only when all bytes that could prove it are there, or the input has ended.
func (r *Reader) detect() error {
search:
	for o := 0; o < searchMax; o++ {
		for r.end < o+(proofRun-1)*204+1 && r.err == nil {
			r.fill()
		}
		if r.err != nil && r.err != io.EOF && o+(proofRun-1)*204 >= r.end {
			return r.err
		}
		if o >= r.end {
			break
		}
		if r.buf[o] != SyncByte {
			continue
		}
		for _, s := range strides {
			if !r.proven(o, s, proofRun) {
				continue
			}
			if bytes.HasPrefix(r.buf[:r.end], []byte(EcoMagic)) {
				break search // its payloads are packets, but it is not a transport stream
			}
			r.stride, r.pos = s, o
			lead := o
			if s == 192 && o == 4 {
				lead = 0 // the time stamp before the first packet, not garbage
			}
			if lead > 0 {
				return &SyncError{Offset: 0, Skipped: int64(lead)}
			}
			return nil
		}
	}
	err := notTS(r.buf[:min(r.end, 4096)])
	r.err, r.stride, r.pos, r.end = err, strides[0], 0, 0
	return err
}

// proven tells whether sync bytes stand at o and want−1 strides after it. At the end of input fewer do.
func (r *Reader) proven(o, s, want int) bool {
	b := r.buf[:r.end]
	have := 0
	for i := o; i < len(b) && have < want; i += s {
		if b[i] != SyncByte {
			return false
		}
		have++
	}
	switch {
	case have == want:
		return true
	case r.stride != 0: // the input ends here
		return o+PacketSize <= len(b)
	case have == 1: // a single packet must be all there is
		return o == 0 && (len(b) == s || len(b) == PacketSize) || o == 4 && s == 192 && len(b) == 192
	case have == 2:
		return o == 0 || o == 4 && s == 192
	}
	return have > 2
}

// resync looks for packets after sync was lost at r.lost. It prefers the place where the next packet
// would be had only a sync byte been damaged, then the known stride, then any.
func (r *Reader) resync() error {
	if r.lost == r.Offset() {
		r.need(r.stride * (resyncRun + 1))
		if r.pos+r.stride < r.end && r.proven(r.pos+r.stride, r.stride, resyncRun) {
			return r.found(r.pos+r.stride, r.stride)
		}
		r.pos++
	}
	for {
		r.need((proofRun-1)*204 + PacketSize)
		if r.pos >= r.end {
			return r.found(r.pos, r.stride)
		}
		stop := min(r.end, r.pos+int(r.lost+searchMax-r.Offset()))
		if next := bytes.IndexByte(r.buf[r.pos:stop], SyncByte); next < 0 {
			r.pos = stop
		} else {
			r.pos += next
			r.need((proofRun-1)*204 + PacketSize)
			if r.proven(r.pos, r.stride, resyncRun) {
				return r.found(r.longer(), r.stride)
			}
			for _, s := range strides {
				if s != r.stride && r.end-r.pos > (proofRun-1)*s && r.proven(r.pos, s, proofRun) {
					return r.found(r.pos, s)
				}
			}
			r.pos++
		}
		if skipped := r.Offset() - r.lost; skipped >= searchMax { // tell a live listener, go on searching
			e := &SyncError{Offset: r.lost, Skipped: skipped}
			r.lost = r.Offset()
			return e
		}
	}
}

// longer returns pos, or, where its run of sync bytes ends before proofRun of them, the next place before pos + stride whose run does
// not: headers of PES packets that are alike have a byte of 0x47 at one place of several packets in a row.
func (r *Reader) longer() int {
	r.need((proofRun + 1) * 204)
	if r.proven(r.pos, r.stride, proofRun) {
		return r.pos
	}
	for o := r.pos + 1; o < min(r.pos+r.stride, r.end); o++ {
		if r.buf[o] == SyncByte && o+(proofRun-1)*r.stride < r.end && r.proven(o, r.stride, proofRun) {
			return o
		}
	}
	return r.pos
}

// need reads until n bytes lie after pos or the input ends.
func (r *Reader) need(n int) {
	for r.end-r.pos < n && r.err == nil {
		r.fill()
	}
}

func (r *Reader) found(pos, stride int) error {
	e := &SyncError{Offset: r.lost, Skipped: r.base + int64(pos) - r.lost}
	r.pos, r.stride, r.lost = pos, stride, -1
	return e
}
