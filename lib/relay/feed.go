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
	// forwardFrom is the size of the smallest payload that is forwarded before all of it is there. Smaller ones come in a few packets.
	forwardFrom = 16 << 10
	// The bytes of a payload are forwarded when forwardStep of them have come, and at the latest forwardAfter after they came. Every time
	// wakes every subscriber.
	forwardStep  = 64 << 10
	forwardAfter = 2 * time.Millisecond
	// readAtOnce is the size of the largest payload whose memory is allocated when its header comes. The memory of larger ones grows with
	// what arrives.
	readAtOnce = 4 << 20
)

// feed reads the objects of one stream of a publisher and hands them to package live.
type feed struct {
	t      *track
	r      *moqt.SubgroupReader
	timer  *time.Timer
	hasher *object.Hasher

	mu    sync.Mutex // guards what follows, which the timer's goroutine uses, too
	in    live.Feed  // the object being read
	open  bool       // bytes of the object may be forwarded
	buf   []byte
	mem   *live.Payload // in which buf lies
	pos   int           // bytes read
	sent  int           // bytes forwarded
	since time.Time     // when the first byte came that is not forwarded yet
	armed bool          // the timer runs
}

// take reads the object o, which src brings, and hands it on. A large one is handed on while it comes.
func (f *feed) take(src *source, o *live.Object) (live.Result, error) {
	in := f.t.Begin(&src.Source, o)
	if o.Size == 0 {
		return f.t.put(src, &in, o, nil, nil, object.Sum(nil)), nil
	}
	n := min(o.Size, readAtOnce)
	mem := live.NewPayload(n)
	buf := mem.Bytes()[:n]
	if o.Size < forwardFrom {
		if _, err := io.ReadFull(f.r, buf); err != nil {
			f.t.Fail(&in, mem)
			return live.Result{}, err
		}
		return f.t.put(src, &in, o, buf, mem, object.Sum(buf)), nil
	}
	f.mu.Lock()
	f.in, f.open, f.buf, f.mem, f.pos, f.sent = in, true, buf, mem, 0, 0
	f.mu.Unlock()
	sum, err := f.read(o.Size)
	f.mu.Lock()
	f.open = false // the last bytes are forwarded once the object is stored
	buf, mem, f.buf, f.mem = f.buf, f.mem, nil, nil
	f.mu.Unlock()
	in, f.in = f.in, live.Feed{}
	if err != nil {
		f.t.Fail(&in, mem)
		return live.Result{}, err
	}
	return f.t.put(src, &in, o, buf, mem, sum), nil
}

// read reads the payload of the open object into f.buf, and returns its hash.
func (f *feed) read(size int) (sum object.Hash, err error) {
	buf, hashed := f.buf, 0
	for pos := 0; ; {
		if pos == len(buf) {
			buf = append(buf, make([]byte, min(size, 2*len(buf))-len(buf))...)[:min(size, 2*len(buf))]
			f.mu.Lock()
			f.buf, f.mem = buf, nil // the old memory, and the new, are left to the garbage collector
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

// came notes that pos bytes have come, and reports whether it has forwarded them.
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

// late forwards the bytes that have waited for more to come.
func (f *feed) late() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	if !f.open || f.pos == f.sent {
		return
	}
	if wait := forwardAfter - time.Since(f.since); wait > 0 { // the timer was set for earlier bytes
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

// readPayload reads a payload that is not forwarded while it comes.
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
