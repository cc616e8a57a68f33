package relay

import (
	"bytes"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
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
	src    *source
	r      *moqt.SubgroupReader
	timer  *time.Timer
	hasher *object.Hasher

	mu    sync.Mutex // guards what follows, against the timer; taken before the track's
	o     *obj       // the one being read; nil: none, or it is not forwarded
	buf   []byte
	pos   int       // read
	sent  int       // forwarded
	since time.Time // when something came that is not forwarded yet
	armed bool      // the timer runs

	// Of o, guarded by the track's mutex or, between objects, by nobody:
	into    *obj // what it feeds
	alone   bool // it feeds nothing
	shared  bool // others have slices of its memory
	hash    object.Hash
	hasHash bool
}

// read reads the payload of o, whose header said size, into o.Payload and returns its hash. What it forwarded of it becomes
// whole, or fails, in end.
func (f *feed) read(o *obj, size int) (sum object.Hash, err error) {
	if size == 0 {
		return object.Sum(nil), nil
	}
	o.mem = takeMemory(min(size, readAtOnce))
	buf := o.mem.b[:min(size, readAtOnce)]
	f.into, f.alone, f.shared, f.hasHash = nil, false, false, false
	if size < forwardFrom {
		_, err = io.ReadFull(f.r, buf)
		o.Payload = buf
		return object.Sum(buf), err
	}
	p, err := object.ParseProperties(o.Properties)
	if err == nil && p.HasHash {
		f.hash, f.hasHash = p.Hash, true
	}
	forward := err == nil // else it will be refused
	hashed := 0
	for pos := 0; ; {
		if pos == len(buf) {
			buf = append(buf, make([]byte, min(size, 2*len(buf))-len(buf))...)[:min(size, 2*len(buf))]
			o.mem = nil
		}
		n, err := f.r.Read(buf[pos:])
		pos += n
		if pos == size {
			break
		}
		if err != nil {
			return sum, err
		}
		if forward && f.came(o, buf, pos) {
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
	f.mu.Lock()
	f.o, f.buf = nil, nil // the rest goes when it is stored
	f.mu.Unlock()
	o.Payload = buf
	if hashed == 0 {
		return object.Sum(buf), nil
	}
	f.hasher.Write(buf[hashed:])
	return f.hasher.Sum(), nil
}

// came takes note that pos bytes came of the payload of o, and reports whether it forwarded them at once.
func (f *feed) came(o *obj, buf []byte, pos int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o != o {
		f.o, f.pos, f.sent = o, 0, 0
	}
	if f.pos == f.sent {
		f.since = time.Now()
	}
	f.buf, f.pos = buf, pos
	if pos-f.sent >= forwardStep {
		f.flush()
		return true
	}
	if !f.armed && !f.alone {
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
	if f.o == nil || f.pos == f.sent {
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
	if f.pos > f.sent {
		f.src.t.forward(f, f.buf[:f.pos])
		f.sent = f.pos
	}
}

// end is called when all was read, or err came instead. kept: the group has the object.
func (f *feed) end(o *obj, kept bool, err error) {
	f.mu.Lock()
	f.o, f.buf = nil, nil
	f.mu.Unlock()
	f.src.t.leave(f, err == nil && !kept)
	if !kept && !f.shared {
		o.mem.free()
	}
}

// close ends the feed with its stream.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o = nil; f.timer != nil {
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
