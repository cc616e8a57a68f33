package sub

import (
	"errors"
	"io"
	"sync"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/object"
)

// output writes the objects of all tracks to one writer, each whole.
type output struct {
	c Config

	mu    sync.Mutex
	w     io.Writer
	eco   *object.Writer
	stats Stats
	tick  time.Time
	up    map[*client.Session]bool
}

func newOutput(c Config, w io.Writer) *output {
	return &output{c: c, w: w, eco: object.NewWriter(w), up: map[*client.Session]bool{}}
}

// session notes the session that came as number n.
func (o *output) session(n int64, sess *client.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Sessions = n
	o.up[sess] = true
}

// over notes that a session has ended.
func (o *output) over(sess *client.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.up, sess)
}

// progress are the statistics for a person. o.mu is held.
func (o *output) progress() Stats {
	s := o.stats
	for sess := range o.up {
		if r := sess.Repair().String(); r != "" {
			s.Repair += ", " + r
		}
	}
	return s
}

func (o *output) snapshot() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// count changes the statistics.
func (o *output) count(f func(*Stats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.stats)
}

// track declares a track.
func (o *output) track(t object.TrackName, properties []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.c.TS {
		return nil
	}
	return o.eco.WriteTrack(t, properties)
}

// object writes an object. It returns false if it dropped the object because its payload does not match its hash.
func (o *output) object(t object.TrackName, obj *object.Object) (bool, error) {
	if o.c.Verify && obj.Status == object.Normal {
		switch err := object.VerifyHash(obj); {
		case errors.Is(err, object.ErrNoHash):
			o.count(func(s *Stats) { s.NoHash++ })
		case err != nil:
			o.count(func(s *Stats) { s.Mismatches++ })
			o.c.Log.Error("object does not match its hash, left out", "track", t.String(), "group", obj.Group, "object", obj.ID, "err", err)
			return false, nil
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var err error
	switch {
	case !o.c.TS:
		err = o.eco.WriteObject(t, obj)
	case obj.Status == object.Normal:
		_, err = o.w.Write(obj.Payload)
	}
	if err != nil {
		return true, err
	}
	if obj.Status == object.Normal {
		o.stats.Objects++
		o.stats.Bytes += int64(len(obj.Payload))
		o.stats.Group = obj.Group
	} else {
		o.stats.Groups++
	}
	if o.c.Progress != nil {
		if now := time.Now(); now.Sub(o.tick) > 500*time.Millisecond {
			o.tick = now
			o.c.Progress(o.progress())
		}
	}
	return true, nil
}
