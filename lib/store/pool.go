package store

import (
	"container/list"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of how many group files are open at a time, if the configuration has none: a quarter of what the process may have open.
const (
	leastOpen = 4
	mostOpen  = 1024
)

// patienceWithFiles is how long a caller waits in all for a descriptor, when the process or the system has none left.
const patienceWithFiles = time.Second

// pool bounds the group files that are open, however many groups are being written and read. A file that nobody uses at the moment stays
// open until its place is needed; whoever uses it next opens it again.
type pool struct {
	max int
	log *slog.Logger

	mu   sync.Mutex   // guards what follows, and f, at and busy of every handle
	free sync.Cond    // a file was given back or closed
	open int          // files that are open or about to be
	said atomic.Int64 // when the log was last told that there are no descriptors, Unix ns
	used list.List    // of *handle: all that are open, the least recently used first
}

// handle is a file of a pool. One goroutine uses it at a time.
type handle struct {
	open  func() (*os.File, error)
	close func(*os.File) // is called before the file is closed; nil: nothing
	f     *os.File       // nil: closed
	at    *list.Element  // in pool.used
	busy  bool           // in use
}

func newPool(max int, log *slog.Logger) *pool {
	if max <= 0 {
		max = mostOpen
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur/4 < mostOpen {
			max = int(limit.Cur / 4)
		}
	}
	p := &pool{max: max, log: log}
	if p.max < leastOpen {
		p.max = leastOpen
	}
	p.free.L = &p.mu
	return p
}

// take gives the handle's file to the caller until give or drop. fresh reports that it was opened for this call. If as many files as may
// be open are in use, take waits.
func (p *pool) take(h *handle) (fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.f != nil {
		h.busy = true
		return false, nil
	}
	for p.open >= p.max {
		if !p.evict() {
			p.free.Wait()
		}
	}
	p.open++
	p.mu.Unlock()
	f, err := h.open()
	if noFiles(err) && p.shed() {
		f, err = h.open()
	}
	p.mu.Lock()
	if err != nil {
		p.open--
		p.free.Signal()
		return false, err
	}
	h.f, h.busy, h.at = f, true, p.used.PushBack(h)
	return true, nil
}

// give returns a file that take gave.
func (p *pool) give(h *handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.busy = false
	p.used.MoveToBack(h.at)
	p.free.Signal()
}

// drop closes the handle's file. The caller uses the file, or nobody does.
func (p *pool) drop(h *handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.f != nil {
		p.shut(h)
	}
}

// evict closes the file that was not used for the longest time; false: all are in use.
func (p *pool) evict() bool {
	for e := p.used.Front(); e != nil; e = e.Next() {
		if h := e.Value.(*handle); !h.busy {
			p.shut(h)
			return true
		}
	}
	return false
}

// shut closes a file; mu is held.
func (p *pool) shut(h *handle) {
	p.used.Remove(h.at)
	if h.close != nil {
		h.close(h.f)
	}
	h.f.Close() // of a file that was written: the bytes are in the page cache; finish syncs them through a handle of its own
	h.f, h.busy, h.at = nil, false, nil
	p.open--
	p.free.Signal()
}

// shed closes all files that nobody uses, because somebody needs their descriptors; false: there were none.
func (p *pool) shed() (some bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.evict() {
		some = true
	}
	return some
}

// noFiles reports that the process or the system has no descriptor left.
func noFiles(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

// withFiles does something again and again while it fails because there is no descriptor left, for a second. No lock is held meanwhile.
func (p *pool) withFiles(do func() error) error {
	err := do()
	for wait := time.Millisecond; noFiles(err) && wait < patienceWithFiles; wait *= 2 {
		p.shed()
		time.Sleep(wait)
		err = do()
	}
	if noFiles(err) {
		p.complain(err)
	}
	return err
}

// complain says that there are no descriptors, at most every ten seconds.
func (p *pool) complain(err error) {
	now, last := time.Now().UnixNano(), p.said.Load()
	if now-last > int64(10*time.Second) && p.said.CompareAndSwap(last, now) {
		p.log.Error("a group file cannot be opened: the process may have no more files open", "err", err)
	}
}

// openFile opens a file outside of the pool, to be closed soon.
func (p *pool) openFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0o644)
	if noFiles(err) && p.shed() {
		f, err = os.OpenFile(path, flags, 0o644)
	}
	return f, err
}

// errReplaced: a file that was closed for want of a place is another one now.
var errReplaced = errors.New("file was replaced while it was read")

// pooled reads a file of a pool from its start to its end, and at offsets.
type pooled struct {
	p   *pool
	h   handle
	off int64
}

// newPooled opens the first of the files for reading. If it has to be opened again, it may have another of these names by then.
func newPooled(p *pool, paths ...string) (*pooled, error) {
	r := &pooled{p: p}
	var was os.FileInfo
	r.h.open = func() (f *os.File, err error) {
		for i, path := range paths {
			var is os.FileInfo
			if f, err = os.Open(path); err == nil {
				if is, err = f.Stat(); err == nil && (was == nil || os.SameFile(was, is)) {
					was = is
					return f, nil
				}
				f.Close()
				err = errors.Join(err, errReplaced)
			}
			if noFiles(err) || was == nil && i == 0 && !os.IsNotExist(err) {
				break
			}
		}
		return nil, err
	}
	if _, err := p.take(&r.h); err != nil {
		return nil, err
	}
	p.give(&r.h)
	return r, nil
}

func (r *pooled) use(do func(f *os.File) (int, error)) (n int, err error) {
	err = r.p.withFiles(func() error { _, err := r.p.take(&r.h); return err })
	if err != nil {
		return 0, err
	}
	defer r.p.give(&r.h)
	return do(r.h.f)
}

func (r *pooled) Read(b []byte) (int, error) {
	n, err := r.use(func(f *os.File) (int, error) { return f.ReadAt(b, r.off) })
	r.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (r *pooled) ReadAt(b []byte, off int64) (int, error) {
	return r.use(func(f *os.File) (int, error) { return f.ReadAt(b, off) })
}

// uncache asks the system to forget what it has of the file in memory, but for what is not on the disk yet.
func (r *pooled) uncache() {
	if r == nil { // the group lies in the tier
		return
	}
	r.use(func(f *os.File) (int, error) { return 0, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) })
}

func (r *pooled) Close() error {
	if r == nil {
		return nil
	}
	r.p.drop(&r.h)
	return nil
}
