package object

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestVarint(t *testing.T) { // RFC 9000 appendix A.1
	for _, c := range []struct {
		v   uint64
		hex string
	}{
		{0, "00"}, {37, "25"}, {63, "3f"}, {64, "4040"}, {15293, "7bbd"}, {16383, "7fff"}, {16384, "80004000"},
		{494878333, "9d7f3e7d"}, {1<<30 - 1, "bfffffff"}, {1 << 30, "c000000040000000"},
		{151288809941952652, "c2197c5eff14e88c"}, {MaxVarint, "ffffffffffffffff"},
	} {
		b := AppendVarint(nil, c.v)
		if hex.EncodeToString(b) != c.hex {
			t.Errorf("%d is %x, want %s", c.v, b, c.hex)
		}
		if v, n := ConsumeVarint(b); v != c.v || n != len(b) {
			t.Errorf("%s reads %d, %d bytes", c.hex, v, n)
		}
		if _, n := ConsumeVarint(b[:len(b)-1]); n != 0 {
			t.Errorf("%s cut short is accepted", c.hex)
		}
	}
	if v, n := ConsumeVarint([]byte{0x40, 0x25}); v != 37 || n != 2 {
		t.Errorf("long form of 37: %d, %d", v, n)
	}
}

func TestProperties(t *testing.T) {
	p := Properties{PTS: 1<<33 - 1, HasPTS: true, Hash: Sum([]byte("x")), HasHash: true,
		Duration: 18000, HasDuration: true, Flags: RandomAccess | Discontinuity}
	b := p.Append(nil)
	want := "7ec0" + "c0000001ffffffff" + "01" + "20" + p.Hash.String() + "01" + "80004650" + "02" + "03"
	if hex.EncodeToString(b) != want {
		t.Errorf("got  %x\nwant %s", b, want)
	}
	got, err := ParseProperties(b)
	if err != nil || got != p {
		t.Errorf("got %+v, %v", got, err)
	}
	if b := (Properties{}).Append(nil); len(b) != 0 {
		t.Errorf("no properties are %x", b)
	}
	// Types of others, before, between and after ours.
	b = []byte{0x02, 0x05, 0x7e, 0xbe, 0x12, 0x03, 2, 'h', 'i', 0x01, 0x01}
	if got, err := ParseProperties(b); err != nil || got != (Properties{PTS: 0x12, HasPTS: true, Flags: 1}) {
		t.Errorf("foreign types: %+v, %v", got, err)
	}
}

func TestMalformedProperties(t *testing.T) {
	for _, s := range []string{"40", "02", "0140", "0105aa", strings.Repeat("ffffffffffffffff00", 5), "02c0"} {
		b, _ := hex.DecodeString(s)
		if _, err := ParseProperties(b); !errors.Is(err, ErrProperties) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestVerifyHash(t *testing.T) {
	o := &Object{Payload: []byte("payload")}
	if err := VerifyHash(o); !errors.Is(err, ErrNoHash) {
		t.Errorf("no hash: %v", err)
	}
	o.Properties = Properties{Hash: Sum(o.Payload), HasHash: true}.Append(nil)
	if err := VerifyHash(o); err != nil {
		t.Errorf("right hash: %v", err)
	}
	o.Payload = []byte("pay1oad")
	if err := VerifyHash(o); !errors.Is(err, ErrHash) {
		t.Errorf("wrong hash: %v", err)
	}
	if err := VerifyHash(&Object{Status: EndOfGroup}); err != nil {
		t.Errorf("a status has no payload: %v", err)
	}
}

func TestSumIsBLAKE3(t *testing.T) { // of the empty input, from the BLAKE3 test vectors
	const want = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	if got := Sum(nil).String(); got != want {
		t.Errorf("got %s", got)
	}
	h := NewHasher()
	h.Write([]byte("ab"))
	h.Write([]byte("c"))
	if h.Sum() != Sum([]byte("abc")) {
		t.Error("Hasher differs from Sum")
	}
	if p, err := ParseHash(want); err != nil || p != Sum(nil) {
		t.Errorf("ParseHash: %v, %v", p, err)
	}
	if _, err := ParseHash("af"); err == nil {
		t.Error("short hash accepted")
	}
}

func FuzzProperties(f *testing.F) {
	f.Add(Properties{PTS: 5, HasPTS: true, Hash: Sum(nil), HasHash: true, Flags: 1}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProperties(b)
		if err != nil {
			return
		}
		again, err := ParseProperties(p.Append(nil))
		if err != nil || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
		if !bytes.Equal(p.Append(nil), again.Append(nil)) {
			t.Fatal("not deterministic")
		}
	})
}
