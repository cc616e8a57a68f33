package transport

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestHostKnown: addresses lead where they say, names only if they are the server's own.
func TestHostKnown(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(name, ".")
	o := &Options{AllowOrigins: []string{"https://player.example:8443"}, Hosts: func(name string) bool { return name == "relay.example" }}
	for host, want := range map[string]bool{
		"127.0.0.1:8080": true, "192.0.2.7": true, "[::1]:8080": true, "[2001:db8::7]": true,
		"localhost:8080": true, "LOCALHOST": true, "localhost.": true, strings.ToUpper(name) + ":1": true, short: true, short + ".local:8080": true,
		"relay.example:4443": true, "Relay.Example.": true, "player.example": true,
		"evil.example:8080": false, "relay.example.evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"sub.relay.example": false, "": false, ":8080": false, ".": false,
	} {
		if got := o.HostKnown(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if !(&Options{AllowOrigins: []string{"*"}}).HostKnown("evil.example") || (*Options)(nil).HostKnown("relay.example") {
		t.Error("* is not every host, or nothing is some")
	}
}

// TestOriginOfRebinding: a page is the server's own only under a name of the server's.
func TestOriginOfRebinding(t *testing.T) {
	o := &Options{AllowOrigins: []string{"https://player.example"}}
	for _, tt := range []struct {
		origin, host string
		want         bool
	}{
		{"", "evil.example", true}, // no page
		{"http://evil.example:8080", "evil.example:8080", false},
		{"http://127.0.0.1:8080", "127.0.0.1:4443", true},
		{"http://[::1]:8080", "[::1]:4443", true},
		{"http://localhost:8080", "localhost:4443", true},
		{"http://localhost:8080", "127.0.0.1:4443", false},
		{"https://player.example", "evil.example", true},
		{"https://player.example:444", "player.example:4443", true}, // a host of its own by then
		{"null", "127.0.0.1", false},
	} {
		r := &http.Request{Host: tt.host, Header: http.Header{}}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := o.OriginAllowed(r); got != tt.want {
			t.Errorf("%q at %q: %v", tt.origin, tt.host, got)
		}
	}
}
