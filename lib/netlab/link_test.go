package netlab

import (
	"encoding/binary"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// arrived is a packet, by its number, and how long it took.
type arrived struct {
	number int
	took   time.Duration
}

// send sends n packets of a size, one each gap, through a direction.
func send(t *testing.T, p string, n, size int, gap time.Duration) (list []arrived, c Counts) {
	t.Helper()
	var params Params
	if err := params.Set(p); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(*testing.T) {
		begun := time.Now()
		d := NewDirection(1, params, func(b []byte) {
			i := int(binary.BigEndian.Uint64(b))
			list = append(list, arrived{i, time.Since(begun) - time.Duration(i)*gap})
		})
		b := make([]byte, size)
		for i := range n {
			binary.BigEndian.PutUint64(b, uint64(i))
			d.Send(b)
			time.Sleep(gap)
		}
		time.Sleep(10 * time.Second)
		c = d.Counts()
		d.Close()
	})
	return list, c
}

func TestLink(t *testing.T) {
	const n = 20_000
	for _, test := range []struct {
		params            string
		share             float64 // that arrives
		least, most       time.Duration
		inOrder           bool
		longest, shortest int // runs of losses
	}{
		{"clear", 1, 0, 0, true, 0, 0},
		{"delay=20ms", 1, 20 * time.Millisecond, 20 * time.Millisecond, true, 0, 0},
		{"loss=10%", .9, 0, 0, true, 8, 1},
		{"loss=100%", 0, 0, 0, true, n, n},
		{"loss=20%,burst=4", .8, 0, 0, true, 24, 4},
		{"delay=20ms,jitter=10ms", 1, 20 * time.Millisecond, 30 * time.Millisecond, true, 0, 0},
		{"delay=20ms,reorder=25%", 1, 20 * time.Millisecond, 30 * time.Millisecond, false, 0, 0},
		{"down", 0, 0, 0, true, n, n},
		{"rate=8M,queue=30ms", 1, time.Millisecond, time.Millisecond, true, 0, 0}, // a packet of 1000 bytes takes 1 ms
		{"rate=4M,queue=30ms", .5, 2 * time.Millisecond, 33 * time.Millisecond, true, 3, 1},
	} {
		list, c := send(t, test.params, n, 1000, time.Millisecond)
		if got := float64(len(list)) / n; math.Abs(got-test.share) > .01 {
			t.Errorf("%s: %.3f arrived, want %.3f", test.params, got, test.share)
		}
		if c.Sent != n || c.Delivered != int64(len(list)) || c.Delivered+c.Lost+c.Full+c.Down != n {
			t.Errorf("%s: %+v", test.params, c)
		}
		order, run, last := true, 0, -1
		for _, a := range list {
			if a.took < test.least || a.took > test.most {
				t.Errorf("%s: packet %d took %v", test.params, a.number, a.took)
				break
			}
			if order = order && a.number > last; test.inOrder && a.number-last-1 > 0 {
				if run = a.number - last - 1; run > test.longest || run < test.shortest {
					t.Errorf("%s: %d lost in succession", test.params, run)
				}
			}
			last = a.number
		}
		if order != test.inOrder {
			t.Errorf("%s: in order %v", test.params, order)
		}
	}
}

// The same seed loses the same packets.
func TestSeed(t *testing.T) {
	a, _ := send(t, "loss=10%,jitter=3ms,reorder=5%", 1000, 100, time.Millisecond)
	b, _ := send(t, "loss=10%,jitter=3ms,reorder=5%", 1000, 100, time.Millisecond)
	if len(a) != len(b) {
		t.Fatalf("%d and %d arrived", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("%v and %v", a[i], b[i])
		}
	}
}

func TestWrongParams(t *testing.T) {
	for _, text := range []string{"", "loss", "loss=", "loss=101%", "loss=-1", "loss=NaN", "delay=5", "delay=-5ms", "burst=x", "burst=-1", "rate=-3", "rate=fast", "rate=1e300G", "speed=3", "down=1"} {
		p := Params{Loss: .5}
		if err := p.Set(text); err == nil {
			t.Errorf("%q is taken: %+v", text, p)
		}
	}
	d := NewDirection(1, Params{Loss: .5}, nil)
	if err := d.Change("loss=1%,nonsense"); err == nil || d.p.Loss != .5 {
		t.Errorf("half of a wrong text was applied: %v", err)
	}
}
