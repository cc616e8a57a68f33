package chop_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
	"every.channel/ec/lib/ts"
)

// promotedAt notes when groups of the broadcast were complete.
type promotedAt struct {
	first, end []time.Time
}

func (p *promotedAt) WriteObject(t object.TrackName, o *object.Object) error {
	if !strings.Contains(t.String(), "--ts_t") {
		return nil
	}
	if o.ID == 0 {
		p.first = append(p.first, time.Now())
	}
	if o.Status == object.EndOfGroup {
		p.end = append(p.end, time.Now())
	}
	return nil
}

// TestLatency: a chunk goes out as soon as its end is certain, whatever PIDs are heard seldom.
func TestLatency(t *testing.T) {
	for _, c := range []struct {
		name, channel string
		habits        sim.Habits
		most          time.Duration // median from the arrival of the next chunk's first packet
	}{
		{"MPEG-2 and AC-3", "5.1", sim.Habits{}, 150 * time.Millisecond},
		{"with SCTE-35 every 5 s", "5.1", sim.Habits{SCTE35: 5 * time.Second}, 150 * time.Millisecond},
		{"H.264 and layer II audio", "101", sim.Habits{}, 150 * time.Millisecond},
		{"with subtitles every 3 s", "101", sim.Habits{Subtitles: 3 * time.Second}, 150 * time.Millisecond},
		{"with an audio PID that is never sent", "101", sim.Habits{SilentAudio: true}, 150 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, s := mux(t, c.channel)
				m.Habits = c.habits
				data, err := io.ReadAll(m.Reader(epoch, epoch.Add(40*time.Second), s.Program))
				if err != nil {
					t.Fatal(err)
				}
				// When each chunk begins follows from the chunks that a run over the whole stream comes to.
				starts := map[string]int{} // first bytes of the chunk's first video packet's payload to where it stands
				for i := 0; i < len(data); i += ts.PacketSize {
					if p := (*ts.Packet)(data[i:]); p.PID() == s.PID+1 && p.UnitStart() {
						starts[string(p.Payload()[:40])] = i
					}
				}
				var ends []int
				sink := sinkFunc(func(t object.TrackName, o *object.Object) error {
					if o.ID != 0 || o.Status != object.Normal || !strings.HasPrefix(t.Name, "ts") {
						return nil
					}
					for b := o.Payload; len(b) > 0; b = b[ts.PacketSize:] {
						if p := (*ts.Packet)(b); p.PID() == s.PID+1 {
							ends = append(ends, starts[string(p.Payload()[:40])])
							break
						}
					}
					return nil
				})
				if _, err := chop.Run(context.Background(), chop.Config{Source: "x"}, bytes.NewReader(data), sink); err != nil {
					t.Fatal(err)
				}
				// The same in real time, 5 ms at once.
				var p promotedAt
				begin := time.Now()
				in := &live{data: data, every: 5 * time.Millisecond, steps: 8000}
				if _, err := chop.Run(context.Background(), chop.Config{Source: "x"}, in, &p); err != nil {
					t.Fatal(err)
				}
				var late []time.Duration
				for _, at := range p.end {
					// The newest chunk begin before the group was complete is the end of that chunk.
					since := at.Sub(begin)
					for _, e := range slices.Backward(ends) {
						if heard := time.Duration(e) * 40 * time.Second / time.Duration(len(data)); heard <= since {
							late = append(late, since-heard)
							break
						}
					}
				}
				slices.Sort(late)
				if len(late) < 12 {
					t.Fatalf("only %d chunks", len(late))
				}
				median := late[len(late)/2]
				t.Logf("promoted after the next chunk's first packet: median %v, most %v, %d chunks", median, late[len(late)-1], len(late))
				if median > c.most {
					t.Errorf("median %v, want at most %v", median, c.most)
				}
			})
		})
	}
}

type sinkFunc func(object.TrackName, *object.Object) error

func (f sinkFunc) WriteObject(t object.TrackName, o *object.Object) error { return f(t, o) }
