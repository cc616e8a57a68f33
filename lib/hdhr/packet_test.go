package hdhr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// What Debian's hdhomerun_config 20220303 sends for "discover", and for "10500009 get /sys/model".
const (
	debianDiscover = "0002000c" + "0104" + "ffffffff" + "0204" + "ffffffff" + "73cc7d8f"
	debianGet      = "0004000d" + "030b" + "2f7379732f6d6f64656c00"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDiscoverRequestIsWhatDebianSends(t *testing.T) {
	want := unhex(t, debianDiscover)
	if got := (DiscoverRequest{}).Append(nil); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	p, n, err := ParsePacket(want)
	if err != nil || n != len(want) || p.Type != TypeDiscoverRequest {
		t.Fatalf("type %d, %d bytes, %v", p.Type, n, err)
	}
	r := ParseDiscoverRequest(p.Payload)
	if !r.Matches(0x10500009, TypeTuner) {
		t.Errorf("%+v does not match a tuner", r)
	}
}

// The request for tuners only, as many programs carry it ready made.
func TestDiscoverTuners(t *testing.T) {
	want := unhex(t, "0002000c"+"0104"+"00000001"+"0204"+"ffffffff"+"4e507f35")
	if got := (DiscoverRequest{Types: []DeviceType{TypeTuner}}).Append(nil); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestGetIsWhatDebianSends(t *testing.T) {
	got := GetSet{Name: "/sys/model"}.Append(nil, TypeGetSetRequest)
	if want := unhex(t, debianGet); !bytes.HasPrefix(got, want) || len(got) != len(want)+4 {
		t.Errorf("got  %x\nwant %x and a CRC", got, want)
	}
}

func TestMatches(t *testing.T) {
	const id DeviceID = 0x10500009
	for _, c := range []struct {
		name string
		r    DiscoverRequest
		want bool
	}{
		{"no tags at all", DiscoverRequest{}, true},
		{"any id", DiscoverRequest{ID: AnyDevice, Types: []DeviceType{TypeAny}}, true},
		{"tuners", DiscoverRequest{Types: []DeviceType{TypeTuner}}, true},
		{"storage", DiscoverRequest{Types: []DeviceType{TypeStorage}}, false},
		{"storage or tuners", DiscoverRequest{Types: []DeviceType{TypeStorage, TypeTuner}}, true},
		{"this id", DiscoverRequest{ID: id}, true},
		{"another id", DiscoverRequest{ID: 0x10500016}, false},
	} {
		p, _, err := ParsePacket(c.r.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseDiscoverRequest(p.Payload).Matches(id, TypeTuner); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestDiscoverReplyRoundTrip(t *testing.T) {
	want := DiscoverReply{
		Types: []DeviceType{TypeTuner, TypeStorage}, ID: 0x10500009, Tuners: 4,
		BaseURL: "http://192.0.2.1:8080", LineupURL: "http://192.0.2.1:8080/lineup.json",
		StorageURL: "http://192.0.2.1/" + strings.Repeat("x", 300), StorageID: "id", DeviceAuth: "auth",
	}
	p, _, err := ParsePacket(want.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := ParseDiscoverReply(p.Payload)
	if got.BaseURL != want.BaseURL || got.StorageURL != want.StorageURL || got.ID != want.ID || got.Tuners != 4 ||
		len(got.Types) != 2 || got.LineupURL != want.LineupURL || got.StorageID != "id" || got.DeviceAuth != "auth" {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParsePacketErrors(t *testing.T) {
	whole := GetSet{Name: "/sys/model"}.Append(nil, TypeGetSetRequest)
	for n := range whole {
		if _, _, err := ParsePacket(whole[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		if _, _, err := ParsePacket(b); err == nil {
			t.Errorf("flipped bit in byte %d goes unseen", i)
		}
	}
	if _, _, err := ParsePacket([]byte{0, 2, 0x05, 0xad, 0}); !errors.Is(err, ErrLong) {
		t.Errorf("payload of 1453 bytes: %v", err)
	}
}

func TestTLVLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 255, 256, 1400} {
		v := bytes.Repeat([]byte{7}, n)
		b := appendTLV(nil, TagBaseURL, v)
		tag, got, rest, ok := nextTLV(append(b, 9))
		if !ok || tag != TagBaseURL || !bytes.Equal(got, v) || len(rest) != 1 {
			t.Errorf("length %d: ok %v, tag %x, %d bytes, %d left", n, ok, tag, len(got), len(rest))
		}
		for cut := range b {
			if _, _, _, ok := nextTLV(b[:cut]); ok {
				t.Errorf("length %d cut at %d is read", n, cut)
			}
		}
	}
}

func TestGetSetLongValueStaysInAPacket(t *testing.T) {
	long := strings.Repeat("v", 5000)
	b := GetSet{Name: "/x", Value: &long, LockKey: 7}.Append(nil, TypeGetSetReply)
	if len(b) > MaxPacket {
		t.Fatalf("%d bytes", len(b))
	}
	p, _, err := ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	if m := ParseGetSet(p.Payload); m.LockKey != 7 || m.Value == nil || !strings.HasPrefix(long, *m.Value) {
		t.Errorf("%d %v", m.LockKey, m.Value)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(unhex(f, debianDiscover))
	f.Add(GetSet{Name: "/tuner0/status", LockKey: 3}.Append(nil, TypeGetSetRequest))
	f.Add(DiscoverReply{ID: 1, BaseURL: strings.Repeat("u", 200)}.Append(nil))
	f.Add([]byte{0x2a, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The payload parsers take what a CRC guards and what it does not.
		ParseDiscoverRequest(b)
		ParseDiscoverReply(b)
		ParseGetSet(b)
		p, n, err := ParsePacket(b)
		if err != nil {
			return
		}
		if again := p.Append(nil); !bytes.Equal(again, b[:n]) {
			t.Errorf("%x became %x", b[:n], again)
		}
		m := ParseGetSet(p.Payload)
		q, _, err := ParsePacket(m.Append(nil, p.Type))
		if err != nil {
			t.Fatalf("own packet: %v", err)
		}
		if again := ParseGetSet(q.Payload); again.Name != m.Name || again.LockKey != m.LockKey {
			t.Errorf("%+v became %+v", m, again)
		}
		if b := ParseDiscoverReply(p.Payload).Append(nil); len(b) > MaxPacket {
			t.Errorf("reply of %d bytes", len(b))
		}
	})
}
