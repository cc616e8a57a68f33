package chop_test

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/probe"
	"every.channel/ec/lib/sim"
)

// told keeps the payloads of a health track, its groups, and whether the source's catalog names it.
type told struct {
	t       *testing.T
	mu      sync.Mutex // guards what follows, for those that look while entries come
	entries []*catalog.Health
	raw     []byte
	groups  []uint64
	ends    int
	listed  bool
	more    chan struct{} // nil, or told of each entry
}

func (l *told) WriteObject(n object.TrackName, o *object.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case n.Name == catalog.TrackCatalog && o.Status == object.Normal:
		c, err := catalog.Parse(o.Payload)
		if err != nil {
			l.t.Error(err)
			return nil
		}
		for _, tr := range c.Tracks {
			l.listed = l.listed || tr.Name == catalog.TrackHealth && tr.Packaging == "ec-health"
		}
	case n.Name != catalog.TrackHealth:
	case o.Status == object.EndOfGroup:
		l.ends++
	default:
		h, err := catalog.ParseHealth(o.Payload)
		if err != nil {
			l.t.Error(err)
			return nil
		}
		l.entries, l.groups = append(l.entries, h), append(l.groups, o.Group)
		l.raw = append(append(l.raw, o.Payload...), '\n')
		if l.more != nil {
			l.more <- struct{}{}
		}
	}
	return nil
}

// pieces reads a few bytes at a time, never a whole number of packets.
type pieces struct{ io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 997)]) }

// The health track says of a stream what ec-dump says of it, about every 10 s, however the bytes arrive.
func TestHealthTrack(t *testing.T) {
	for _, number := range []string{"5.1", "101"} {
		for name, impair := range map[string]sim.Impair{
			"clean":   {},
			"damaged": {Seed: 3, Loss: 0.001, Burst: 5, TEI: 0.0005, Flip: 0.0005, Cut: 0.0001},
		} {
			m, s := mux(t, number)
			data, err := io.ReadAll(impair.Reader(m.Reader(epoch, epoch.Add(time.Minute), s.Program)))
			if err != nil {
				t.Fatal(err)
			}
			var all [2]*told
			for i, in := range []io.Reader{bytes.NewReader(data), pieces{bytes.NewReader(data)}} {
				synctest.Test(t, func(t *testing.T) { // where no time passes, however busy the machine is: by the wall there are entries, too
					all[i] = &told{t: t}
					if _, err := chop.Run(t.Context(), chop.Config{Source: "here", Program: uint(s.Program), Meter: probe.NewMeter()}, in, all[i]); err != nil {
						t.Fatal(number, name, err)
					}
				})
			}
			l := all[0]
			if !bytes.Equal(l.raw, all[1].raw) {
				t.Errorf("channel %s, %s: what the track says depends on how bytes arrive:\n%s\n%s", number, name, l.raw, all[1].raw)
			}
			if n := len(l.entries); n < 5 || n > 8 || !l.listed || l.ends == 0 {
				t.Fatalf("channel %s, %s: %d entries in a minute, in the catalog: %v, %d ends of groups", number, name, n, l.listed, l.ends)
			}
			for i, h := range l.entries[:len(l.entries)-1] {
				if i > 0 && (h.Seconds-l.entries[i-1].Seconds < 10 || h.UTC == nil || l.groups[i] <= l.groups[i-1]) {
					t.Errorf("channel %s, %s: entry %d of group %d: %+v", number, name, i, l.groups[i], h)
				}
			}
			last := l.entries[len(l.entries)-1]
			m2 := probe.NewMeter()
			m2.Packets(data[:len(data)/188*188], 188)
			want := m2.Health()
			if name == "clean" && (last.TR101290.Priority1 != want.TR101290.Priority1 || last.Packets != want.Packets || last.Lost != 0 || last.Rate == 0) {
				t.Errorf("channel %s: the last entry is %+v, all of the stream %+v", number, last, want)
			}
			p := last.TR101290
			if broken := p.Priority1.Continuity > 0 && p.Priority1.SyncByte > 0 && p.Priority2.Transport > 0 && last.Lost > 0 && last.Chunks.Damaged > 0; broken != (name == "damaged") {
				t.Errorf("channel %s, %s: %+v", number, name, last)
			}
			if last.Chunks.All < 20 || name == "clean" && last.Chunks.Promoted < 20 {
				t.Errorf("channel %s, %s: chunks %+v", number, name, last.Chunks)
			}
		}
	}
}

// While nothing comes, the track goes on: this is when somebody looks.
func TestHealthWhileSilent(t *testing.T) {
	m, s := mux(t, "5.1")
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(20*time.Second), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := &told{t: t, more: make(chan struct{}, 100)}
		var strength atomic.Int64
		strength.Store(80)
		cfg := chop.Config{Source: "here", Meter: probe.NewMeter(), Tuner: func() *catalog.Tuner {
			now := int(strength.Load())
			return &catalog.Tuner{Strength: &now}
		}}
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := chop.Run(t.Context(), cfg, r, l)
			done <- err
		}()
		w.Write(data)
		synctest.Wait()
		l.mu.Lock()
		before := len(l.entries)
		l.mu.Unlock()
		strength.Store(3)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		l.mu.Lock()
		if n := len(l.entries) - before; n != 3 {
			t.Errorf("%d entries in 35 s of silence", n)
		}
		last := l.entries[len(l.entries)-1]
		if last.Silent < 29 || last.Silent > 35 || last.UTC != nil || last.Tuner == nil || *last.Tuner.Strength != 3 {
			t.Errorf("%+v", last)
		}
		if l.groups[len(l.groups)-1] != l.groups[before-1] {
			t.Errorf("groups %d", l.groups)
		}
		l.mu.Unlock()
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
