package moqt

import (
	"context"
	"sync"
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

// TestUrgencyKeepsTheOrder: subscriber priority decides before publisher priority (§7.2), whatever is merged.
func TestUrgencyKeepsTheOrder(t *testing.T) {
	last := int8(0)
	for _, s := range []uint8{0, 1, 63, 64, 127, 128, 129, 192, 193, 255} {
		for _, p := range []uint8{0, 127, 128, 129, 255} {
			u := urgency(s, p)
			if u < last || u <= urgencyControl || u > 7 {
				t.Errorf("subscriber %d, publisher %d: urgency %d after %d", s, p, u, last)
			}
			last = u
		}
	}
	for _, pair := range [][4]uint8{ // first pair strictly before the second
		{63, 255, 64, 0}, {127, 255, 128, 0}, {128, 127, 128, 128}, {128, 128, 128, 129}, {128, 255, 129, 0}, {192, 255, 193, 0},
	} {
		if urgency(pair[0], pair[1]) >= urgency(pair[2], pair[3]) {
			t.Errorf("%v", pair)
		}
	}
}

// TestDescendingGroupOrder: the newest group's streams go before those of older groups, whichever opens or closes.
func TestDescendingGroupOrder(t *testing.T) {
	inMemory(t, func(t *draftT) {
		ctx := testContext(t)
		h, pubs := accepting(TrackInfo{})
		a, b := Pipe(PipeOptions{Version: t.v})
		seen := &prioritySeen{Conn: b, urgency: map[int]int8{}}
		c, s := NewClient(a, "", "/", nil), NewServer(seen, &Config{Handler: h})
		run(t, c)
		run(t, s)
		if _, err := c.Subscribe(ctx, testTrack, SubscribeOptions{GroupOrder: wire.GroupOrderDescending}); err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		var ws []*SubgroupWriter
		first := len(seen.urgency) // streams that carry no data
		check := func(want ...int8) {
			t.Helper()
			for i, u := range want {
				if got := seen.of(first + i); got != u {
					t.Errorf("stream %d has urgency %d, want %d", i, got, u)
				}
			}
		}
		for _, g := range []uint64{5, 3, 6, 6} {
			w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: g, Subgroup: uint64(len(ws))})
			if err != nil {
				t.Fatal(err)
			}
			ws = append(ws, w)
		}
		base := urgency(DefaultPriority, DefaultPriority)
		check(base+1, base+1, base, base)
		ws[2].Close()
		check(base+1, base+1, base, base)
		ws[3].Close()
		check(base, base+1)
	})
}

// prioritySeen notes the urgency of unidirectional streams in the order of opening.
type prioritySeen struct {
	Conn
	mu      sync.Mutex
	urgency map[int]int8
}

func (c *prioritySeen) of(i int) int8 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urgency[i]
}

func (c *prioritySeen) OpenUniStream(ctx context.Context) (SendStream, error) {
	st, err := c.Conn.OpenUniStream(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.urgency)
	c.urgency[i] = 0
	return priorityStream{st, c, i}, nil
}

type priorityStream struct {
	SendStream
	c *prioritySeen
	i int
}

func (s priorityStream) SetPriority(urgency int8, _ bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.urgency[s.i] = urgency
}
