package relay

import (
	"bytes"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/relay/live"
)

const (
	// forwardFrom is the smallest payload that is forwarded before it is whole: a smaller one comes in a few packets.
	forwardFrom = 16 << 10
	// forwardStep and forwardAfter say when what came is forwarded: every so many bytes, and at the latest so long after it
	// came. Every step wakes every subscriber.
	forwardStep  = 64 << 10
	forwardAfter = 2 * time.Millisecond
	// readAtOnce is the largest payload that is allocated because a header promises it; larger ones grow with what arrives.
	readAtOnce = 4 << 20
)

// feed reads the payloads of one stream of a publisher and forwards what came of them.
type feed struct {
	t      *track
	r      *moqt.SubgroupReader
	timer  *time.Timer
	hasher *object.Hasher

	mu    sync.Mutex // guards what follows, against the timer
	in    live.Feed  // the object being read
	open  bool       // it may be forwarded
	buf   []byte
	mem   *live.Payload // in which buf lies
	pos   int           // read
	sent  int           // forwarded
	since time.Time     // when something came that is not forwarded yet
	armed bool          // the timer runs
}

// take reads an object that src brings and hands it on, while it comes if it is large.
func (f *feed) take(src *source, o *live.Object) (live.Result, error) {
	in := f.t.Begin(&src.Source, o)
	if o.Size == 0 {
		return f.t.Put(&in, nil, nil, object.Sum(nil)), nil
	}
	n := min(o.Size, readAtOnce)
	mem := live.NewPayload(n)
	buf := mem.Bytes()[:n]
	if o.Size < forwardFrom {
		if _, err := io.ReadFull(f.r, buf); err != nil {
			f.t.Fail(&in, mem)
			return live.Result{}, err
		}
		return f.t.Put(&in, buf, mem, object.Sum(buf)), nil
	}
	f.mu.Lock()
	f.in, f.open, f.buf, f.mem, f.pos, f.sent = in, true, buf, mem, 0, 0
	f.mu.Unlock()
	sum, err := f.read(o.Size)
	f.mu.Lock()
	f.open = false // the rest goes when it is stored
	buf, mem, f.buf, f.mem = f.buf, f.mem, nil, nil
	f.mu.Unlock()
	in, f.in = f.in, live.Feed{}
	if err != nil {
		f.t.Fail(&in, mem)
		return live.Result{}, err
	}
	return f.t.Put(&in, buf, mem, sum), nil
}

// read reads the payload of the object that is open into f.buf, and returns its hash.
func (f *feed) read(size int) (sum object.Hash, err error) {
	buf, hashed := f.buf, 0
	for pos := 0; ; {
		if pos == len(buf) {
			buf = append(buf, make([]byte, min(size, 2*len(buf))-len(buf))...)[:min(size, 2*len(buf))]
			f.mu.Lock()
			f.buf, f.mem = buf, nil // the memory before is left to the garbage collector
			f.mu.Unlock()
		}
		n, err := f.r.Read(buf[pos:])
		pos += n
		if pos == size {
			break
		}
		if err != nil {
			return sum, err
		}
		if f.came(pos) {
			if hashed == 0 {
				if f.hasher == nil {
					f.hasher = object.NewHasher()
				}
				f.hasher.Reset()
			}
			f.hasher.Write(buf[hashed:pos])
			hashed = pos
		}
	}
	if hashed == 0 {
		return object.Sum(buf), nil
	}
	f.hasher.Write(buf[hashed:])
	return f.hasher.Sum(), nil
}

// came takes note that pos bytes came, and reports whether it forwarded them at once.
func (f *feed) came(pos int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pos == f.sent {
		f.since = time.Now()
	}
	f.pos = pos
	if pos-f.sent >= forwardStep {
		f.flush()
		return true
	}
	if !f.armed && !f.in.Alone() {
		f.armed = true
		if f.timer == nil {
			f.timer = time.AfterFunc(forwardAfter, f.late)
		} else {
			f.timer.Reset(forwardAfter)
		}
	}
	return false
}

// late forwards what waited for more to come.
func (f *feed) late() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	if !f.open || f.pos == f.sent {
		return
	}
	if wait := forwardAfter - time.Since(f.since); wait > 0 { // it was set for what came before
		f.armed = true
		f.timer.Reset(wait)
		return
	}
	f.flush()
}

func (f *feed) flush() {
	f.t.Append(&f.in, f.buf[:f.pos], f.mem)
	f.sent = f.pos
}

// close ends the feed with its stream.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open = false; f.timer != nil {
		f.timer.Stop()
	}
}

// readPayload reads a payload that is not forwarded, into memory of its own.
func readPayload(r io.Reader, size uint64) ([]byte, error) {
	if size <= readAtOnce {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	b.Grow(readAtOnce)
	n, err := io.Copy(&b, io.LimitReader(r, int64(size)))
	if err == nil && uint64(n) < size {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}
