package pub

import (
	"context"
	"errors"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// A disk may be slow, hang or be full, and what is live must not wait for it. So one goroutine writes, from a bounded queue, and nothing else
// waits for a write for long. While the disk keeps up, the input waits for each object to be on disk, so what was read is there when this
// process is killed. Once a write has taken longer than a fifth of a second the input goes on without, until the disk has caught up.

const (
	// maxQueued and maxQueuedBytes bound what waits to be written. An object that finds the queue full is not kept.
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
	// writePatience is how long the input and senders wait for an object to be on disk, from when the object was read on.
	writePatience = 200 * time.Millisecond
	// roomPatience is how long input that can wait does so for the queue. If nothing is written in that time, it waits no more until
	// something is.
	roomPatience = 2 * time.Second
	// closePatience is how long the end waits for what is in the queue.
	closePatience = 10 * time.Second
)

var errBehind = errors.New("the disk is too slow: too much waits to be written")

// write is an object on its way to disk.
type write struct {
	name   object.TrackName
	object object.Object // its slices are never written again
	over   bool          // no object: no more of the group is expected
	kept   *kept
	by     time.Time     // until then a sender waits
	done   chan struct{} // closed when it is on disk, or is not going to be
}

// kept is what the disk has of a group that is in memory. The disk's mutex guards it.
type kept struct {
	whole bool // all of it
	other bool // another group under its name
}

func (w *write) size() int64 { return int64(len(w.object.Payload) + len(w.object.Properties)) }

// wait waits until an object is on disk, but not long; false: it was too long.
func (w *write) wait(ctx context.Context) bool {
	if w == nil {
		return true
	}
	select {
	case <-w.done:
		return true
	default:
	}
	timer := time.NewTimer(time.Until(w.by))
	defer timer.Stop()
	select {
	case <-w.done:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return true
	}
}

// put queues an object of a group in memory. nil: it is not going to be written.
func (d *disk) put(name object.TrackName, o object.Object, k *kept) *write {
	if d == nil {
		return nil
	}
	w := &write{name: name, object: o, kept: k, by: time.Now().Add(d.patience), done: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && !d.fits(w.size()) {
		d.lose(errBehind)
		return nil
	}
	return d.enqueue(w)
}

// over notes that no more of a group is expected.
func (d *disk) over(name object.TrackName, group uint64) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.enqueue(&write{name: name, object: object.Object{Group: group}, over: true, done: make(chan struct{})})
}

// enqueue queues a write, unless the queue is full; the disk's mutex is held.
func (d *disk) enqueue(w *write) *write {
	if d.closed {
		return nil
	}
	select {
	case d.queue <- w:
		d.queued += w.size()
		d.last = w
		return w
	default:
		return nil
	}
}

// catchUp waits until all that is queued is on disk, unless the disk is behind.
func (d *disk) catchUp(ctx context.Context) {
	if d == nil {
		return
	}
	d.mu.Lock()
	w, behind := d.last, d.behind
	d.mu.Unlock()
	if behind || w.wait(ctx) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-w.done:
	default:
		d.behind = true
	}
}

// fits reports whether there is room in the queue; the disk's mutex is held. A single object of any size fits.
func (d *disk) fits(size int64) bool {
	return len(d.queue) < cap(d.queue) && (d.queued == 0 || d.queued+size <= d.most)
}

// full reports whether there is no room in the queue.
func (d *disk) full(size int64) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.stuck && !d.fits(size)
}

// room waits for room in the queue, as long as the disk writes at all.
func (d *disk) room(ctx context.Context, size int64) {
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	for d.full(size) {
		select {
		case <-d.freed:
		case <-timer.C:
			d.mu.Lock()
			d.stuck = !d.fits(size)
			d.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// write writes what is queued, until the disk is closed and nothing is left.
func (d *disk) write() {
	for {
		select {
		case w := <-d.queue:
			d.keep(w)
			continue
		default:
		}
		select {
		case w := <-d.queue:
			d.keep(w)
		case <-d.ending:
			if len(d.queue) == 0 {
				return
			}
		}
	}
}

// keep writes an object.
func (d *disk) keep(w *write) {
	d.mu.Lock()
	d.since = time.Now()
	other := w.kept != nil && w.kept.other
	d.mu.Unlock()
	if d.before != nil {
		d.before()
	}
	t := d.st.Track(w.name)
	var res store.Result
	var err error
	var whole bool
	switch {
	case w.over:
		if err := t.Finish(w.object.Group); err != nil {
			d.log.Error("spool", "err", err)
		}
	case other: // it would make one group of two
		res = store.Conflict
	default:
		res, err = t.Put(&w.object, object.Sum(w.object.Payload))
		info, there := t.Group(w.object.Group)
		whole = there && info.Complete
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	close(w.done)
	d.since, d.stuck = time.Time{}, false
	d.behind = d.behind && len(d.queue) > 0
	d.queued -= w.size()
	select {
	case d.freed <- struct{}{}:
	default:
	}
	if w.over {
		return
	}
	d.note(w, res, err)
	w.kept.other = w.kept.other || res == store.Conflict
	w.kept.whole = whole && !w.kept.other
}

// note tells the log what became of an object; the disk's mutex is held.
func (d *disk) note(w *write, res store.Result, err error) {
	now := time.Now()
	switch {
	case err != nil:
		d.lose(err)
	case d.lost > 0 && d.queued <= d.most/4:
		if d.paused {
			d.log.Warn("spool goes on", "not_kept", d.lost)
		}
		d.lost, d.paused = 0, false
	}
	if res == store.Conflict && now.Sub(d.other) > tellEvery {
		d.other = now
		d.log.Warn("the spool has another object under this name, and keeps it", "track", w.name.String(), "group", w.object.Group, "object", w.object.ID)
	}
}

// lose counts an object that is not kept; the disk's mutex is held.
func (d *disk) lose(err error) {
	d.lost++
	if now := time.Now(); now.Sub(d.told) > tellEvery {
		d.told, d.paused = now, true
		d.log.Error("spool pauses, publishing goes on without it", "not_kept", d.lost, "err", err)
	}
}

// of returns what the disk has of a group in memory.
func (d *disk) of(k *kept) kept {
	if d == nil {
		return kept{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return *k
}
