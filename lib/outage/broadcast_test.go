package outage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

var video = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
var manifest = object.TrackName{Namespace: object.Namespace{"ec", "source", "home", "3"}, Name: "manifest"}

const parts = 4

// firstGroup of all broadcasts. Ids skip, as those of chunks do.
const firstGroup, groupStep = 1000, 2

// payload is a pure function of its arguments: every home makes the same.
func payload(name object.TrackName, group, id uint64, size int) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%v %d %d", name, group, id))
	if name.Name == manifest.Name {
		size = 200
	}
	b := make([]byte, size)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// broadcast is a live input: a group of each track in every interval.
type broadcast struct {
	size  int // of a part of the video
	every time.Duration

	written atomic.Uint64 // groups of each track that were written whole
	began   time.Time     // when group 0 was on air
}

// due is when a part of the nth group of a broadcast on air is over, and homes have it.
func (b *broadcast) due(n, id uint64) time.Time {
	return b.began.Add(time.Duration(n)*b.every + time.Duration(id+1)*b.every/parts)
}

// now returns the number of the group that is on air.
func (b *broadcast) now() uint64 { return uint64(time.Since(b.began) / b.every) }

// begin puts the broadcast on air, for homes that come and go.
func (b *broadcast) begin() { b.began = time.Now() }

// onAir writes what is on air to w, from the beginning of the next group, until ctx ends.
func (b *broadcast) onAir(ctx context.Context, w io.WriteCloser) {
	n := uint64(time.Since(b.began)/b.every) + 1
	select {
	case <-time.After(time.Until(b.began.Add(time.Duration(n) * b.every))):
	case <-ctx.Done():
	}
	b.run(ctx, w, n)
}

// run writes to w until ctx ends, and then ends the stream in order.
func (b *broadcast) run(ctx context.Context, w io.WriteCloser, first uint64) error {
	defer w.Close()
	var buf bytes.Buffer
	out := object.NewWriter(&buf)
	tick := time.NewTicker(b.every / parts)
	defer tick.Stop()
	for n := first; ; n++ {
		for id := range uint64(parts) {
			next := tick.C
			if !b.began.IsZero() { // a home that was stopped catches up with what is on air
				next = time.After(time.Until(b.due(n, id)))
			}
			select {
			case <-next:
			case <-ctx.Done():
				return nil
			}
			if err := b.put(out, &buf, w, n, id); err != nil {
				return err
			}
		}
		b.written.Add(1)
	}
}

// put writes one part, and with the last one of a group its end and an entry of the manifest.
func (b *broadcast) put(out *object.Writer, buf *bytes.Buffer, w io.Writer, n, id uint64) error {
	buf.Reset()
	group := firstGroup + n*groupStep
	pts := uint64(time.Duration(n)*b.every+time.Duration(id)*b.every/parts) * 90 / 1e6
	add := func(name object.TrackName, id uint64) {
		p := payload(name, group, id, b.size)
		prop := object.Properties{Hash: object.Sum(p), HasHash: true, PTS: pts, HasPTS: true}
		out.WriteObject(name, &object.Object{Group: group, ID: id, Priority: 100, Properties: prop.Append(nil), Payload: p})
	}
	add(video, id)
	if id == parts-1 {
		out.WriteObject(video, &object.Object{Group: group, ID: parts, Status: object.EndOfGroup})
		add(manifest, 0)
		out.WriteObject(manifest, &object.Object{Group: group, ID: 1, Status: object.EndOfGroup})
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// lacking returns the groups of the first n of a track that are not whole in a store. What is there must be what was published.
func (b *broadcast) lacking(t testing.TB, st *store.Store, name object.TrackName, n uint64) (list []uint64) {
	t.Helper()
	for i := range n {
		g := firstGroup + i*groupStep
		if info, ok := st.Track(name).Group(g); !ok || !info.Complete {
			list = append(list, i)
		}
	}
	return list
}

// verify compares everything that is stored with what was published, and returns how many objects there are.
func (b *broadcast) verify(t testing.TB, st *store.Store) (objects int) {
	t.Helper()
	for _, name := range []object.TrackName{video, manifest} {
		for _, i := range st.Track(name).Groups(0, object.MaxVarint) {
			r, err := st.Track(name).Open(i.Group, 0)
			if err != nil {
				t.Fatal(err)
			}
			for {
				o, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%v: %v", name, err)
				}
				if o.Status == object.Normal && !bytes.Equal(o.Payload, payload(name, i.Group, o.ID, b.size)) {
					t.Fatalf("%v: object %d/%d is not what was published", name, i.Group, o.ID)
				}
				objects++
			}
			r.Close()
		}
	}
	return objects
}
