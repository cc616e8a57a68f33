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
	"every.channel/ec/lib/store"
)

// disk keeps what was read in a folder, in the form of a relay's (docs/format/store.md), so that relays can fetch it hours later, also from
// the next ec-pub. An object is written before it is sent. What cannot be written is published all the same. Methods of nil do nothing.
type disk struct {
	st   *store.Store
	log  *slog.Logger
	stop context.CancelFunc
	runs sync.WaitGroup

	// The spool's mutex guards these.
	lost  int64 // objects that could not be written since writing last went well
	told  time.Time
	other time.Time // when it was last told that the folder has another object
}

// tellEvery is how often it is told again that the disk is in trouble.
const tellEvery = time.Minute

func openDisk(c Config) (*disk, error) {
	st, err := store.Open(c.Spool, store.Config{MaxAge: c.SpoolAge, MaxBytes: c.SpoolBytes, Logger: c.Log})
	if errors.Is(err, store.ErrLocked) {
		return nil, exit.With(exit.Busy, err, "another ec-pub or ec-relay uses this folder; give each its own")
	}
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &disk{st: st, log: c.Log, stop: stop}
	d.runs.Go(func() { st.Run(ctx) })
	n := st.Stats()
	c.Log.Info("spool", "folder", c.Spool, "tracks", n.Tracks, "groups", n.Groups, "bytes", n.Bytes)
	return d, nil
}

func (d *disk) close() {
	d.stop()
	d.runs.Wait()
	if err := d.st.Close(); err != nil {
		d.log.Error("spool", "err", err)
	}
}

// put writes an object. The spool's mutex is held.
func (d *disk) put(name object.TrackName, o *object.Object) {
	if d == nil {
		return
	}
	res, err := d.st.Track(name).Put(o, object.Sum(o.Payload))
	switch now := time.Now(); {
	case err != nil:
		if d.lost++; now.Sub(d.told) > tellEvery {
			d.told = now
			d.log.Error("spool pauses, publishing goes on without it", "not_kept", d.lost, "err", err)
		}
	case d.lost > 0:
		d.log.Warn("spool goes on", "not_kept", d.lost)
		d.lost, d.told = 0, time.Time{}
	case res == store.Conflict && now.Sub(d.other) > tellEvery:
		d.other = now
		d.log.Warn("the spool has another object under this name, and keeps it", "track", name.String(), "group", o.Group, "object", o.ID)
	}
}

// over notes that no more of a group is expected. The spool's mutex is held.
func (d *disk) over(name object.TrackName, group uint64) {
	if d == nil {
		return
	}
	if err := d.st.Track(name).Finish(group); err != nil {
		d.log.Error("spool", "err", err)
	}
}

func (d *disk) has(name object.TrackName) bool { return d != nil && d.st.Lookup(name) != nil }

// holds reports whether all of a group is on disk.
func (d *disk) holds(name object.TrackName, group uint64) bool {
	if !d.has(name) {
		return false
	}
	i, ok := d.st.Track(name).Group(group)
	return ok && i.Complete
}

func (d *disk) tracks() []object.TrackName {
	if d == nil {
		return nil
	}
	return d.st.Tracks()
}

// groups returns the groups from…to, inclusive, ascending.
func (d *disk) groups(name object.TrackName, from, to uint64) (list []mesh.Group) {
	if !d.has(name) {
		return nil
	}
	t := d.st.Track(name)
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

// objects reads the objects of a group from an id on. Before an error it returns those that could be read.
func (d *disk) objects(name object.TrackName, group, from uint64) (list []object.Object, whole bool, _ error) {
	if !d.has(name) {
		return nil, false, nil
	}
	r, err := d.st.Track(name).Open(group, from)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	for {
		o, err := r.Next()
		if err == io.EOF {
			return list, r.Info().Complete, nil
		}
		if err != nil {
			return list, false, err
		}
		own := *o
		own.Properties, own.Payload = append([]byte(nil), o.Properties...), append([]byte(nil), o.Payload...)
		list = append(list, own)
	}
}
