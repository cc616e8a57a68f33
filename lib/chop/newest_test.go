package chop_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
)

// newest takes objects as a reader does who knows nothing but the catalogs: the one with the highest group id holds.
type newest struct {
	t     *testing.T
	group map[string]uint64 // of a namespace
	track map[string]string // that the newest catalog names
	seen  int
}

func (n *newest) WriteObject(t object.TrackName, o *object.Object) error {
	space := t.Namespace.String()
	switch {
	case o.Status != object.Normal:
	case t.Name == catalog.TrackCatalog:
		n.seen++
		if last, ok := n.group[space]; ok && o.Group <= last {
			n.t.Errorf("%s: catalog %d comes after %d", space, o.Group, last)
			return nil
		}
		c, err := catalog.Parse(o.Payload)
		if err != nil {
			return err
		}
		n.group[space], n.track[space] = o.Group, c.Tracks[0].Name
	case strings.HasPrefix(t.Name, "ts") && n.track[space] != t.Name:
		n.t.Errorf("a chunk is in %s, but the newest catalog names %s", t, n.track[space])
	}
	return nil
}

// TestNewestCatalog: the newest catalog has the highest group id and names the track that goes on, whatever the clock does.
func TestNewestCatalog(t *testing.T) {
	run := func(t *testing.T, in io.Reader) {
		t.Helper()
		n := &newest{t: t, group: map[string]uint64{}, track: map[string]string{}}
		if _, err := chop.Run(context.Background(), chop.Config{Source: "here"}, in, n); err != nil {
			t.Fatal(err)
		}
		if n.seen < 2 {
			t.Errorf("%d catalogs", n.seen)
		}
	}
	for _, habit := range []string{"step=-4s/20s", "step=-4s/7s", "step=1h/1m", "step=-1h/15s", "splice=6s/20s/7s", "splice=-1h/20s/3s", "restart=20s", "restart=13s"} {
		for _, channel := range []string{"5.2", "101"} {
			t.Run(habit+" on "+channel, func(t *testing.T) {
				m, s := mux(t, channel)
				if err := m.SetHabit(habit); err != nil {
					t.Fatal(err)
				}
				run(t, m.Reader(epoch, epoch.Add(2*time.Minute), s.Program))
			})
		}
	}
	for _, name := range []string{"back4s", "splice_home", "restart_counters", "tdt_wrong"} {
		t.Run(name, func(t *testing.T) { run(t, bytes.NewReader(readCase(t, name))) })
	}
}
