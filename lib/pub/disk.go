package pub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/store"
)

// disk keeps what was read in a folder, in the form of a relay's (docs/format/store.md), so that relays can fetch it hours later, also from
// the next ec-pub. queue.go has how it is written. What cannot be written is published all the same. Methods of nil do nothing.
type disk struct {
	st      *store.Store
	log     *slog.Logger
	stop    context.CancelFunc
	runs    sync.WaitGroup
	writing sync.WaitGroup
	reads   chan struct{} // a place for each read that is under way
	queue   chan *write
	freed   chan struct{} // has a value when something was written
	ending  chan struct{} // closed when nothing is queued any more
	most    int64         // bytes in the queue
	before  func()        // tests set this: called before anything is written

	patience time.Duration // writePatience

	mu     sync.Mutex // guards what follows, and is held only for moments
	queued int64      // bytes that are not written yet
	since  time.Time  // when the write that is under way began; zero: none is
	stuck  bool       // the input waited in vain for room in the queue
	closed bool
	behind bool   // a write took too long, and more wait
	last   *write // that was queued last
	lost   int64  // objects that were not kept since writing last went well
	paused bool   // the log was told of that
	told   time.Time
	other  time.Time // when it was last told that the folder has another object
	unread time.Time // or that it does not answer
}

// tellEvery is how often it is told again that the disk is in trouble.
const tellEvery = time.Minute

func openDisk(c Config) (*disk, error) {
	if err := notARelays(c.Spool); err != nil {
		return nil, err
	}
	st, err := store.Open(c.Spool, store.Config{MaxAge: c.SpoolAge, MaxBytes: c.SpoolBytes, Logger: c.Log})
	if errors.Is(err, store.ErrLocked) {
		return nil, exit.With(exit.Busy, err, "another ec-pub or ec-relay uses this folder; give each its own")
	}
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &disk{
		st: st, log: c.Log, stop: stop, reads: make(chan struct{}, maxReads), queue: make(chan *write, maxQueued),
		freed: make(chan struct{}, 1), ending: make(chan struct{}), most: min(maxQueuedBytes, max(c.Memory/4, 1<<20)), before: c.beforeWrite,
		patience: settings.Or(c.writePatience, writePatience),
	}
	d.runs.Go(func() { st.Run(ctx) })
	d.writing.Go(d.write)
	n := st.Stats()
	c.Log.Info("spool", "folder", c.Spool, "tracks", n.Tracks, "groups", n.Groups, "bytes", n.Bytes)
	return d, nil
}

// first reports whether something is to be told again, and notes that it is.
func (d *disk) first(told *time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if now.Sub(*told) <= tellEvery {
		return false
	}
	*told = now
	return true
}

// close writes what is queued and closes the folder. A disk that hangs is left as it is, as if the power had gone.
func (d *disk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	close(d.ending)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.writing.Wait()
		d.mu.Lock()
		lost := d.lost
		d.mu.Unlock()
		if lost > 0 {
			d.log.Warn("spool ends with objects missing", "not_kept", lost)
		}
		d.stop()
		d.runs.Wait()
		if err := d.st.Close(); err != nil {
			d.log.Error("spool", "err", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(closePatience):
		d.log.Error("spool not closed in order: the disk is too slow", "not_kept", len(d.queue))
	}
}

// maxReads is how many reads may be under way, and listPatience and readPatience how long one is waited for: a list, and a group. A disk
// that hangs then costs what it has, and no session. The relay waits for a list for 5 s.
const (
	maxReads     = 16
	listPatience = 4 * time.Second
	readPatience = 10 * time.Second
)

var errSlow = errors.New("the disk does not answer")

// ask runs what reads the disk, and waits some time for it.
func ask[T any](d *disk, patience time.Duration, read func() (T, error)) (v T, _ error) {
	if d == nil || d.hangs() {
		return v, errSlow
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case d.reads <- struct{}{}:
	case <-timer.C:
		return v, errSlow
	}
	type answer struct {
		v   T
		err error
	}
	c := make(chan answer, 1)
	go func() {
		defer func() { <-d.reads }()
		v, err := read()
		c <- answer{v, err}
	}()
	select {
	case a := <-c:
		return a.v, a.err
	case <-timer.C:
		return v, errSlow
	}
}

// hangs reports whether a write has been under way for so long that a read would hardly do better.
func (d *disk) hangs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.since.IsZero() && time.Since(d.since) > listPatience
}

// has reports whether anything of a track is on disk.
func (d *disk) has(name object.TrackName) bool {
	if d == nil {
		return false
	}
	is, _ := ask(d, listPatience, func() (bool, error) { return d.st.Lookup(name) != nil, nil })
	return is
}

func (d *disk) tracks() []object.TrackName {
	if d == nil {
		return nil
	}
	list, _ := ask(d, listPatience, func() ([]object.TrackName, error) { return d.st.Tracks(), nil })
	return list
}

// groups returns the groups from…to, inclusive, ascending.
func (d *disk) groups(name object.TrackName, from, to uint64) []mesh.Group {
	if d == nil {
		return nil
	}
	list, err := ask(d, listPatience, func() ([]mesh.Group, error) { return listGroups(d.st.Lookup(name), from, to), nil })
	if err != nil && d.first(&d.unread) {
		d.log.Warn("groups of the spool are not listed", "track", name.String(), "err", err)
	}
	return list
}

func listGroups(t *store.Track, from, to uint64) (list []mesh.Group) {
	if t == nil {
		return nil
	}
	for _, i := range t.Groups(from, to) {
		g := mesh.Group{ID: i.Group, Whole: i.Complete}
		if !g.Whole {
			ids, _, err := t.Objects(i.Group)
			if err != nil {
				continue
			}
			g.Objects = uint64(len(ids))
		}
		list = append(list, g)
	}
	return list
}

// stored is what was read of a group.
type stored struct {
	objects []object.Object
	whole   bool
}

// objects reads the objects of a group from an id on. Before an error it returns those that could be read.
func (d *disk) objects(name object.TrackName, group, from uint64) (stored, error) {
	if d == nil {
		return stored{}, nil
	}
	return ask(d, readPatience, func() (stored, error) { return readGroup(d.st.Lookup(name), group, from) })
}

func readGroup(t *store.Track, group, from uint64) (is stored, _ error) {
	if t == nil {
		return is, nil
	}
	r, err := t.Open(group, from)
	if errors.Is(err, store.ErrNotFound) {
		return is, nil
	}
	if err != nil {
		return is, err
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err == io.EOF {
			is.whole = r.Info().Complete
			return is, nil
		}
		if err != nil {
			return is, err
		}
		own := *o
		own.Properties, own.Payload = append([]byte(nil), o.Properties...), append([]byte(nil), o.Payload...)
		is.objects = append(is.objects, own)
	}
}
