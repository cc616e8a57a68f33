package torture

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// run is a gap-free run of a track's packets.
type run struct {
	track       *track
	first, last int32 // local indexes
}

// content says which packets of the stream a run of objects holds.
type content struct {
	runs    []run // by track in order of appearance, then in order
	owner   []piece
	from    int32 // index in the broadcast of its first packet; −1: it holds nothing
	to      int32
	cut     *track // its access units are there; nil: it has none
	start   int    // offset of its first byte in the cut track, −1
	begin   int32
	strange string // a payload that nobody sent
}

// piece is a run of packets in one object.
type piece struct {
	object int
	run
}

// chunk is an entry of a manifest with its objects.
type chunk struct {
	entry   *gotEntry
	objects []*gotObject
	wide    int // objects under the broadcast's name
	*content
}

func key(b []byte) uint64 {
	k := uint64(len(b)) * 0x9e3779b97f4a7c15
	if len(b) >= 8 {
		return k ^ binary.LittleEndian.Uint64(b) ^ binary.LittleEndian.Uint64(b[len(b)-8:])*31
	}
	for _, c := range b {
		k = (k ^ uint64(c)) * 1099511628211
	}
	return k
}

// payload returns the payload of a packet of the track.
func (t *track) payload(local int32) []byte {
	end := len(t.bytes)
	if int(local)+1 < len(t.starts) {
		end = int(t.starts[local+1])
	}
	return t.bytes[t.starts[local]:end]
}

func (t *track) find(b []byte) []int32 {
	if t.byKey == nil {
		t.byKey = make(map[uint64][]int32, len(t.starts))
		for i := range t.starts {
			k := key(t.payload(int32(i)))
			t.byKey[k] = append(t.byKey[k], int32(i))
		}
	}
	return t.byKey[key(b)]
}

// read finds out what objects hold.
func (s *Stream) read(objects []*gotObject) *content {
	c := &content{from: -1, start: -1, begin: -1}
	type part struct {
		object int
		b      []byte
	}
	parts := map[*track][]part{}
	var order []*track
	for n, o := range objects {
		for b := o.payload; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
			p := (*ts.Packet)(b)
			t := s.tracks[p.PID()]
			if t == nil {
				continue
			}
			if body := p.Payload(); len(body) > 0 {
				if parts[t] == nil {
					order = append(order, t)
				}
				parts[t] = append(parts[t], part{n, body})
			}
		}
	}
	for _, t := range order {
		list := parts[t]
		for i := 0; i < len(list); {
			best, length := int32(-1), 0
			for _, at := range t.find(list[i].b) {
				n := 0
				for i+n < len(list) && int(at)+n < len(t.starts) && bytes.Equal(list[i+n].b, t.payload(at+int32(n))) {
					n++
				}
				if n > length {
					best, length = at, n
				}
			}
			if best < 0 {
				c.strange = fmt.Sprintf("PID %#x: a payload that was never sent", t.pid)
				i++
				continue
			}
			// A copy of the packet before, kept by the cutter, is no gap.
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && length == 1 && best == c.runs[n-1].last {
				i++
				continue
			}
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && best == c.runs[n-1].last && length > 1 {
				i, best, length = i+1, best+1, length-1
			}
			if n := len(c.runs); n > 0 && c.runs[n-1].track == t && best == c.runs[n-1].last+1 {
				c.runs[n-1].last = best + int32(length) - 1
			} else {
				c.runs = append(c.runs, run{t, best, best + int32(length) - 1})
			}
			for n := range length {
				o := list[i+n].object
				if m := len(c.owner); m > 0 && c.owner[m-1].object == o && c.owner[m-1].track == t && c.owner[m-1].last+1 == best+int32(n) {
					c.owner[m-1].last++
				} else {
					c.owner = append(c.owner, piece{o, run{t, best + int32(n), best + int32(n)}})
				}
			}
			i += length
		}
	}
	for _, r := range c.runs {
		first, last := r.track.index[r.first], r.track.index[r.last]
		if c.from < 0 || first < c.from {
			c.from = first
		}
		c.to = max(c.to, last)
		if s.isCut(r.track) && (c.cut == nil || c.cut.kind == kindAudio && r.track.kind == kindVideo) {
			c.cut = r.track
			c.start, c.begin = int(r.track.starts[r.first]), first
		}
	}
	return c
}

// gap describes a missing run, "" if there is none.
func (c *content) gap() string {
	if c.strange != "" {
		return c.strange
	}
	for i := 1; i < len(c.runs); i++ {
		if a, b := c.runs[i-1], c.runs[i]; a.track == b.track {
			return fmt.Sprintf("PID %#x: packets %d to %d of the PID are followed by %d", a.track.pid, a.first, a.last, b.first)
		}
	}
	return ""
}

// chunks puts manifest entries and objects together.
func (s *Stream) chunks(res *Result, n int, c *reception, seen map[object.Hash]*content) (list []*chunk) {
	byGroup := map[string][]*gotObject{}
	group := func(track string, id uint64) string { return fmt.Sprintf("%s %d", track, id) }
	for i := range c.objects {
		o := &c.objects[i]
		if o.payload == nil {
			continue
		}
		k := group(o.track.String(), o.group)
		byGroup[k] = append(byGroup[k], o)
		if o.wide {
			k = group("", o.group)
			byGroup[k] = append(byGroup[k], o)
		}
	}
	take := func(ch *chunk, from []*gotObject, most int) {
		for _, o := range from {
			if !o.claimed && len(ch.objects) < most {
				o.claimed = true
				ch.objects = append(ch.objects, o)
				if o.wide {
					ch.wide++
				}
			}
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		if e.Late {
			continue
		}
		ch := &chunk{entry: e}
		if e.Scope == catalog.ScopeSource && e.Promoted > 0 {
			take(ch, byGroup[group("", e.Group)], e.Promoted)
		}
		take(ch, byGroup[group(e.Track.String(), e.Group)], e.Objects)
		var hashes []object.Hash
		for _, o := range ch.objects {
			hashes = append(hashes, o.hash)
		}
		h := catalog.HashParts(hashes)
		if len(ch.objects) != e.Objects || h != e.Hash {
			res.add(Manifest, n, group(e.Track.String(), e.Group), "%d objects of %d are there, or their hash is another", len(ch.objects), e.Objects)
		}
		if ch.content = seen[h]; ch.content == nil {
			ch.content = s.read(ch.objects)
			seen[h] = ch.content
		}
		list = append(list, ch)
		res.Chunks++
		if e.Scope == catalog.ScopeBroadcast {
			res.Promoted++
		}
	}
	for i := range c.objects {
		if o := &c.objects[i]; o.payload != nil && !o.claimed && o.wide {
			res.add(Manifest, n, o.name, "no entry speaks of it")
			break
		}
	}
	return list
}
