package chop_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// wholeAudio is a sink that checks each promoted chunk for whole PES packets on one PID.
type wholeAudio struct {
	t          *testing.T
	pid        ts.PID
	cont       ts.Continuity
	want, have int // bytes of the PES packet
	begun      bool
	chunks     int
}

func (w *wholeAudio) WriteObject(t object.TrackName, o *object.Object) error {
	if !strings.Contains(t.String(), "--ts_t") {
		return nil
	}
	if o.Status == object.EndOfGroup {
		w.whole(o)
		w.begun = false
		w.chunks++
	}
	for b := o.Payload; len(b) > 0; b = b[ts.PacketSize:] {
		p := (*ts.Packet)(b)
		if p.PID() != w.pid {
			continue
		}
		if w.cont.Check(p) == ts.Gap {
			w.t.Errorf("%d/%d: continuity gap", o.Group, o.ID)
		}
		if p.UnitStart() {
			w.whole(o)
			w.begun, w.have = true, 0
			w.want = 6 + int(p.Payload()[4])<<8 + int(p.Payload()[5]) // H.222.0 §2.4.3.6 PES_packet_length
		} else if !w.begun {
			w.t.Errorf("%d/%d: the chunk begins inside a PES packet", o.Group, o.ID)
		}
		w.have += len(p.Payload())
	}
	return nil
}

func (w *wholeAudio) whole(o *object.Object) {
	if w.begun && w.have != w.want {
		w.t.Errorf("%d/%d: a PES packet ends after %d of %d bytes", o.Group, o.ID, w.have, w.want)
	}
}

// filtered passes the packets on that keep wants.
func filtered(r io.Reader, keep func(*ts.Packet) bool) io.Reader {
	return readerFunc(func(b []byte) (n int, err error) {
		var p ts.Packet
		for n == 0 {
			if _, err := io.ReadFull(r, p[:]); err != nil {
				return 0, err
			}
			if keep(&p) {
				n = copy(b, p[:])
			}
		}
		return n, nil
	})
}

// TestAudioIsWhole: every chunk begins and ends between two PES packets of audio, wherever its start cut into one,
// and no packet is lost or out of order on its PID.
func TestAudioIsWhole(t *testing.T) {
	for _, number := range []string{"5.1", "5.2", "101", "102"} {
		for _, promote := range []chop.Promotion{chop.PromoteChunk, chop.PromotePart} {
			m, s := mux(t, number)
			w := &wholeAudio{t: t, pid: s.PID + 4}
			if _, err := chop.Run(context.Background(), chop.Config{Promote: promote}, m.Reader(epoch, epoch.Add(time.Minute), s.Program), w); err != nil {
				t.Fatal(err)
			}
			if w.chunks < 15 {
				t.Errorf("%s: %d chunks", number, w.chunks)
			}
		}
	}
}

// TestSilentAudio: an audio PID on which nothing comes holds nobody up.
func TestSilentAudio(t *testing.T) {
	m, s := mux(t, "5.1")
	end := epoch.Add(30 * time.Second)
	whole := receive(t, chop.Config{}, m.Reader(epoch, end, s.Program))
	deaf := receive(t, chop.Config{}, filtered(m.Reader(epoch, end, s.Program), func(p *ts.Packet) bool { return p.PID() != s.PID+4 }))
	// The last chunk but one may end too near to the end of input.
	if deaf.stats.Promoted < whole.stats.Promoted-1 || deaf.stats.Promoted < 5 {
		t.Errorf("%d chunks promoted without audio, %d with it", deaf.stats.Promoted, whole.stats.Promoted)
	}
}

// TestLossNearACut loses single packets of audio around every chunk's start: what is promoted all the same is right.
func TestLossNearACut(t *testing.T) {
	m, s := mux(t, "5.1")
	end := epoch.Add(time.Minute)
	whole := receive(t, chop.Config{}, m.Reader(epoch, end, s.Program))
	for i := range 40 {
		n := 0
		lossy := receive(t, chop.Config{}, filtered(m.Reader(epoch, end, s.Program), func(p *ts.Packet) bool {
			if p.PID() != s.PID+4 {
				return true
			}
			n++
			return n%40 != i
		}))
		agree(t, whole, lossy)
		for key, h := range lossy.chunks {
			if whole.chunks[key] != h {
				t.Errorf("loss %d: %s was promoted with other bytes", i, key)
			}
		}
	}
}
