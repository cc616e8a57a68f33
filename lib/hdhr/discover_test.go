package hdhr

import (
	"net/netip"
	"testing"
)

func TestRepliesOfOneDeviceAreMerged(t *testing.T) {
	s := &search{found: map[identity]*Found{}, answered: map[netip.Addr]bool{}, done: make(chan struct{})}
	from := func(a string) netip.AddrPort { return netip.MustParseAddrPort(a) }
	tuner := func(base string) DiscoverReply { return DiscoverReply{ID: 0x10500009, Tuners: 2, BaseURL: base} }
	s.add(tuner("http://[fd77::1]"), from("[fe80::1%eth0]:65001"))
	s.add(tuner("http://169.254.0.1"), from("169.254.0.1:65001"))
	s.add(tuner("http://192.0.2.1"), from("192.0.2.1:65001"))
	s.add(tuner("http://192.0.2.1"), from("192.0.2.1:65001")) // the second try
	s.add(tuner("http://[fd77::1]"), from("[fd77::1]:65001"))
	s.add(DiscoverReply{ID: 0x10500016}, from("192.0.2.2:65001")) // an old one without a URL
	s.add(DiscoverReply{StorageID: "a", Types: []DeviceType{TypeStorage}}, from("192.0.2.3:65001"))
	s.add(DiscoverReply{StorageID: "b", Types: []DeviceType{TypeStorage}}, from("192.0.2.4:65001"))

	found := s.result()
	if len(found) != 4 {
		t.Fatalf("%d devices: %+v", len(found), found)
	}
	byID := map[DeviceID]Found{}
	for _, f := range found {
		byID[f.ID] = f
	}
	f := byID[0x10500009]
	want := []string{"192.0.2.1", "fd77::1", "fe80::1%eth0", "169.254.0.1"}
	if len(f.Addrs) != len(want) || f.BaseURL != "http://192.0.2.1" {
		t.Fatalf("%+v", f)
	}
	for i, a := range f.Addrs {
		if a.Addr().String() != want[i] {
			t.Errorf("address %d: %s, want %s", i, a.Addr(), want[i])
		}
	}
	if got := byID[0x10500016].BaseURL; got != "http://192.0.2.2" {
		t.Errorf("base URL of an old device: %q", got)
	}
}

func TestResolveTarget(t *testing.T) {
	for _, c := range []struct {
		in, want string // "": an error
	}{
		{"192.0.2.7", "192.0.2.7:0"},
		{"192.0.2.7:8080", "192.0.2.7:8080"},
		{"fd77::1", "[fd77::1]:0"},
		{"[fd77::1]", "[fd77::1]:0"},
		{"[fd77::1]:65001", "[fd77::1]:65001"},
		{"fe80::1%eth0", "[fe80::1%eth0]:0"},
		{"", ""},
		{"http://x/", ""},
		{"192.0.2.7:port", ""},
		{"a b", ""},
	} {
		got, err := ResolveTarget(t.Context(), c.in, true, true)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%q: %s, %v; want %q", c.in, got, err, c.want)
		}
	}
}
