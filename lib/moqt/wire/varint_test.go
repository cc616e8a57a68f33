package wire

import (
	"bytes"
	"testing"
)

func TestVarint(t *testing.T) {
	for _, tt := range []struct {
		value uint64
		hex   []byte
	}{
		// RFC 9000 §A.1.
		{151288809941952652, []byte{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}},
		{494878333, []byte{0x9d, 0x7f, 0x3e, 0x7d}},
		{15293, []byte{0x7b, 0xbd}},
		{37, []byte{0x25}},
		{MaxVarint, bytes.Repeat([]byte{0xff}, 8)},
	} {
		if b := AppendVarint(nil, Draft16, tt.value); !bytes.Equal(b, tt.hex) {
			t.Errorf("%d encodes to %x, want %x", tt.value, b, tt.hex)
		}
		if v, n := Varint(tt.hex, Draft16); v != tt.value || n != len(tt.hex) {
			t.Errorf("%x decodes to %d in %d bytes", tt.hex, v, n)
		}
		for i := range tt.hex {
			if _, n := Varint(tt.hex[:i], Draft16); n != 0 {
				t.Errorf("%x cut to %d bytes decodes", tt.hex, i)
			}
		}
	}
	if v, n := Varint([]byte{0x40, 0x25}, Draft16); v != 37 || n != 2 {
		t.Errorf("37 in two bytes: %d in %d", v, n)
	}
}

func FuzzVarint(f *testing.F) {
	f.Add(uint64(37), []byte{0x40, 0x25})
	f.Fuzz(func(t *testing.T, v uint64, b []byte) {
		for _, draft := range Versions() {
			v := min(v, draft.MaxInteger())
			enc := AppendVarint(nil, draft, v)
			if got, n := Varint(append(enc, b...), draft); got != v || n != len(enc) {
				t.Fatalf("%d came back as %d", v, got)
			}
			if got, n := Varint(b, draft); n > 0 {
				if again, _ := Varint(AppendVarint(nil, draft, got), draft); again != got {
					t.Fatalf("%x: %d, then %d", b, got, again)
				}
			}
		}
	})
}
