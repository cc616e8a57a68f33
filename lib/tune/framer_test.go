package tune

import (
	"bytes"
	"testing"

	"every.channel/ec/lib/ts"
)

// packets makes n packets of a stride, each with its number in bytes 1 to 3 and no sync byte inside.
func packets(n, stride int) []byte {
	b := make([]byte, 0, n*stride)
	for i := range n {
		p := make([]byte, stride)
		p[0], p[1], p[2], p[3] = ts.SyncByte, byte(i>>8), byte(i), 0x10
		b = append(b, p...)
	}
	return b
}

func TestFramerFindsEveryPacketHoweverTheStreamIsCut(t *testing.T) {
	for _, stride := range []int{188, 192, 204} {
		all := packets(50, stride)
		for _, size := range []int{1, 7, 187, 188, 189, 376, 1000, len(all)} {
			m := framer{stride: stride}
			n := 0
			for b := all; len(b) > 0; {
				piece := b[:min(size, len(b))]
				took := m.feed(piece, func(p *ts.Packet) bool {
					if int(p[2]) != n {
						t.Fatalf("stride %d, pieces of %d: packet %d, want %d", stride, size, p[2], n)
					}
					n++
					return true
				})
				if took != len(piece) {
					t.Fatalf("stride %d, pieces of %d: took %d", stride, size, took)
				}
				b = b[took:]
			}
			if n != 50 {
				t.Errorf("stride %d, pieces of %d: %d packets", stride, size, n)
			}
		}
	}
}

func TestFramerStopsBehindThePacket(t *testing.T) {
	m := framer{stride: 188}
	all := packets(10, 188)
	n := 0
	took := m.feed(all, func(*ts.Packet) bool { n++; return n < 3 })
	if took != 3*188 {
		t.Errorf("took %d", took)
	}
}

func TestFramerFindsSyncAgain(t *testing.T) {
	all := packets(20, 188)
	torn := append(bytes.Clone(all[:188*5+60]), all[188*10:]...)
	m := framer{stride: 188}
	var last, n int
	m.feed(torn, func(p *ts.Packet) bool { last = int(p[2]); n++; return true })
	if last != 19 || n < 14 {
		t.Errorf("%d packets, the last %d", n, last)
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(packets(4, 188), 188, 50)
	f.Add(packets(4, 204)[3:], 204, 1)
	f.Fuzz(func(t *testing.T, b []byte, stride, size int) {
		if stride != 192 && stride != 204 {
			stride = 188
		}
		m := framer{stride: stride}
		for size = max(1, size); len(b) > 0; {
			took := m.feed(b[:min(size, len(b))], func(p *ts.Packet) bool { return p[1]&1 == 0 })
			if took <= 0 || took > len(b) {
				t.Fatalf("took %d of %d", took, len(b))
			}
			b = b[took:]
		}
	})
}
