package chop_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/ts"
)

// withoutFirst is a stream without some of the first copies of duplicates.
func withoutFirst(data []byte, lost func() bool) (left []byte, copies, n int) {
	var cont ts.Continuity
	before := map[ts.PID]int{}
	drop := map[int]bool{}
	for i := 0; i < len(data); i += ts.PacketSize {
		p := (*ts.Packet)(data[i:])
		if p.PID() == ts.PIDNull || !p.HasPayload() {
			continue
		}
		if cont.Check(p) == ts.Duplicate {
			if copies++; lost() {
				drop[before[p.PID()]] = true
			}
		}
		before[p.PID()] = i
	}
	for i := 0; i < len(data); i += ts.PacketSize {
		if !drop[i] {
			left = append(left, data[i:i+ts.PacketSize]...)
		}
	}
	return left, copies, len(drop)
}

// TestLostCopies: where one copy of a duplicate is lost nothing is, but where the start of a part lies between the two copies.
func TestLostCopies(t *testing.T) {
	for _, c := range []struct {
		channel, habit string
		most           int // chunks in a hundred that may be others where all first copies are lost
	}{
		{"5.1", "duplicates", 50},
		{"101", "duplicates", 0},
		{"101", "duplicates=2", 20},
	} {
		m, s := mux(t, c.channel)
		if err := m.SetHabit(c.habit); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(m.Reader(epoch, epoch.Add(2*time.Minute), s.Program))
		if err != nil {
			t.Fatal(err)
		}
		whole := receive(t, chop.Config{}, bytes.NewReader(data))
		rng := rand.New(rand.NewPCG(1, 2))
		for _, chance := range []float64{1, 1e-2} {
			left, copies, n := withoutFirst(data, func() bool { return rng.Float64() < chance })
			lossy := receive(t, chop.Config{}, bytes.NewReader(left))
			same, other, two := 0, 0, 0
			for key, h := range lossy.chunks {
				if whole.chunks[key] == h {
					same++
				} else {
					other++
				}
			}
			for key, h := range lossy.objects {
				if was, ok := whole.objects[key]; strings.Contains(key, "--ts_t") && ok && was != h {
					two++
				}
			}
			t.Logf("%s %s: %d of %d first copies lost: %d chunks are the same, %d others; %d of %d objects have two hashes", c.channel, c.habit, n, copies, same, other, two, len(whole.objects))
			if chance == 1 && other*100 > c.most*(same+other) || same+other != len(whole.chunks) {
				t.Errorf("%s %s: %d of %d chunks are others", c.channel, c.habit, other, same+other)
			}
		}
	}
}
