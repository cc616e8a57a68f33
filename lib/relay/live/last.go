package live

import (
	"bytes"
	"time"
)

// Last returns a copy of the payload of the last whole object of the newest groups in memory, nil if there is none of at most so many bytes.
func (t *Track) Last(most int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	groups := t.newest(2) // the newest one may have none yet
	for i := len(groups) - 1; i >= 0; i-- {
		for j := len(groups[i].objs) - 1; j >= 0; j-- {
			o := groups[i].objs[j]
			if n := len(o.Payload); o.whole() && n > 0 {
				if n > most {
					return nil
				}
				return bytes.Clone(o.Payload)
			}
		}
	}
	return nil
}

// Began returns when the first object of the newest group began to come, and the properties of that object; ok is false if the group did not come
// live, or that object is not here.
func (t *Track) Began() (group uint64, at time.Time, props []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.largest == nil {
		return 0, at, nil, false
	}
	g := t.groups[t.largest.Group]
	if g == nil || g.loading != nil || g.Seq == 0 {
		return 0, at, nil, false
	}
	o := g.find(0)
	if o == nil || o.At.IsZero() {
		return 0, at, nil, false
	}
	return g.ID, o.At, bytes.Clone(o.Properties), true
}
