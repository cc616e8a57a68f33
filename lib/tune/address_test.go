package tune

import (
	"errors"
	"net/netip"
	"os"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("10500009", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("10500009/7", nil, 0o666); err != nil {
		t.Fatal(err)
	}
	udp := func(s, iface string) Address {
		return Address{Kind: UDP, Group: netip.MustParseAddrPort(s), Iface: iface}
	}
	channel := func(device, ch string) Address { return Address{Kind: Channel, Device: device, Channel: ch} }
	for _, c := range []struct {
		in   string
		want Address // Kind < 0: a usage error
	}{
		{"-", Address{Kind: Stdin}},
		{"5.1", channel("", "5.1")},
		{"5-1", channel("", "5.1")},
		{"101", channel("", "101")},
		{"ch533000000-3", channel("", "ch533000000-3")},
		{"10500009/5.1", channel("10500009", "5.1")},
		{"10500009/ch533000000", channel("10500009", "ch533000000")},
		{"192.0.2.7/5-1", channel("192.0.2.7", "5.1")},
		{"192.0.2.7:8080/5.1", channel("192.0.2.7:8080", "5.1")},
		{"fd77::1/5.1", channel("fd77::1", "5.1")},
		{"[fd77::1]:80/5.1", channel("[fd77::1]:80", "5.1")},
		{"hdhr://tuner.lan/5.1", channel("tuner.lan", "5.1")},
		{"hdhr://10500009/5.1", channel("10500009", "5.1")},
		{"HDHR://tuner.lan:81/101", channel("tuner.lan:81", "101")},
		{"hdhr://tuner.lan/EC-H264", channel("tuner.lan", "EC-H264")},
		{"hdhr://tuner.lan/EC Eins", channel("tuner.lan", "EC Eins")},
		{"hdhr://tuner.lan/EC%20Eins", channel("tuner.lan", "EC Eins")},
		{"hdhr://tuner.lan/channel", channel("tuner.lan", "channel")},
		{"10500009/7", Address{Kind: File, Path: "10500009/7"}}, // it exists
		{"./5.1", Address{Kind: File, Path: "./5.1"}},
		{"tapes/5.1", Address{Kind: File, Path: "tapes/5.1"}},
		{"5.1.ts", Address{Kind: File, Path: "5.1.ts"}},
		{"file:///tmp/a%20b.ts", Address{Kind: File, Path: "/tmp/a b.ts"}},
		{"http://h/x?y=1", Address{Kind: HTTP, URL: "http://h/x?y=1"}},
		{"udp://@239.1.2.3:1234", udp("239.1.2.3:1234", "")},
		{"rtp://239.1.2.3:1234?iface=eth0", udp("239.1.2.3:1234", "eth0")},
		{"udp://[ff05::1]:5000", udp("[ff05::1]:5000", "")},
		{"udp://[ff02::1%eth0]:5000", udp("[ff02::1%eth0]:5000", "eth0")},
		{"udp://127.0.0.1:1234", udp("127.0.0.1:1234", "")},
		{"udp://:1234", udp("[::]:1234", "")},
		{"", Address{Kind: -1}},
		{"10500008/5.1", Address{Kind: -1}}, // checksum
		{"hdhr://tuner.lan", Address{Kind: -1}},
		{"hdhr:///5.1", Address{Kind: -1}},
		{"hdhr://tuner.lan/", Address{Kind: -1}},
		{"hdhr://tuner.lan/a/b", Address{Kind: -1}},
		{"http://", Address{Kind: -1}},
		{"ftp://h/x", Address{Kind: -1}},
		{"udp://239.1.2.3", Address{Kind: -1}},
		{"udp://239.1.2.3:0", Address{Kind: -1}},
		{"udp://host:1", Address{Kind: -1}},
		{"udp://127.0.0.1:1?iface=eth0", Address{Kind: -1}},
		{"udp://239.1.2.3:1?ttl=3", Address{Kind: -1}},
		{"file://host/x", Address{Kind: -1}},
	} {
		got, err := ParseAddress(c.in)
		if c.want.Kind < 0 {
			if e, ok := errors.AsType[*Error](err); !ok || e.ExitCode() != 64 {
				t.Errorf("%q: %+v, %v; want a usage error", c.in, got, err)
			}
			continue
		}
		c.want.text = c.in
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
}

func TestPasswordStaysOutOfLogs(t *testing.T) {
	a, err := ParseAddress("http://me:secret@192.0.2.1/x")
	if err != nil || a.URL != "http://me:secret@192.0.2.1/x" || a.String() != "http://me:xxxxx@192.0.2.1/x" {
		t.Errorf("%+v, %v", a, err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"5.1", "10500009/5.1", "udp://@239.1.2.3:1?iface=x", "hdhr://h/5", "http://[::1]/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err == nil && a.Kind != HTTP && a.String() != s {
			t.Errorf("%q became %q", s, a)
		}
	})
}

// A device is named by what ec-discover prints of it, whichever that is.
func TestParseDevice(t *testing.T) {
	for in, want := range map[string]string{
		"10500009": "10500009", "192.0.2.7": "192.0.2.7", "[2001:db8::7]:80": "[2001:db8::7]:80", "tuner.lan": "tuner.lan",
		"http://192.0.2.7": "192.0.2.7", "http://192.0.2.7:5004/": "192.0.2.7:5004", "http://[2001:db8::7]:80/lineup.json": "[2001:db8::7]:80", "hdhr://127.0.0.1:4000": "127.0.0.1:4000",
		"10500000": "", "ftp://192.0.2.7": "", "a b": "", "http://": "", "192.0.2.7/5.1": "",
	} {
		if got, err := parseDevice(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
