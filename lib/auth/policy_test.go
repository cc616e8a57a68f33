package auth

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"every.channel/ec/lib/object"
)

func TestLists(t *testing.T) {
	pin := strings.Repeat("ab", 32)
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("# whom we do not serve\naddress:198.51.100.7 # one\n\nsource:attic\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	deny, err := ParseList([]string{"namespace:ec-adult", "key:" + strings.ToUpper(pin), "token:5f1c", "address:2001:db8::/32", "@" + file})
	if err != nil {
		t.Fatal(err)
	}
	ns := func(text string) object.Namespace {
		n, err := object.ParseNamespace(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	p := Policy{Deny: deny}
	for text, bars := range map[string]bool{"ec-adult": true, "ec-adult-1": true, "ec": false, "ec-adults": false, "ec-source-attic-3": true, "ec-source-roof-3": false} {
		if p.Bars(ns(text)) != bars {
			t.Errorf("denied %s: %v", text, !bars)
		}
	}
	addr := netip.MustParseAddr
	peers := []struct {
		peer Peer
		out  bool
	}{
		{Peer{Addr: addr("198.51.100.7")}, true},
		{Peer{Addr: addr("::ffff:198.51.100.7")}, true},
		{Peer{Addr: addr("198.51.100.8")}, false},
		{Peer{Addr: addr("2001:db8:1::1")}, true},
		{Peer{Keys: []string{"cd", pin}}, true},
		{Peer{Tokens: []string{"5f1c"}}, true},
		{Peer{}, false},
	}
	for _, c := range peers {
		if out := p.Refuses(c.peer) != ""; out != c.out {
			t.Errorf("denied %+v: %v", c.peer, out)
		}
	}

	// what is allowed alone, and what is denied of that
	allow, err := ParseList([]string{"namespace:ec-atsc", "address:192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	p = Policy{Allow: allow, Deny: List{Namespaces: []object.Namespace{ns("ec-atsc-9")}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}}
	for text, bars := range map[string]bool{"ec-atsc-1-2": false, "ec-atsc-9-2": true, "ec-dvb-1": true, "ec": true} {
		if p.Bars(ns(text)) != bars {
			t.Errorf("allowed %s: %v", text, bars)
		}
	}
	for text, out := range map[string]bool{"192.0.2.1": false, "192.0.2.9": true, "203.0.113.1": true} {
		if (p.Refuses(Peer{Addr: addr(text)}) != "") != out {
			t.Errorf("allowed %s: %v", text, out)
		}
	}

	p = Policy{PrivateBelow: []object.Namespace{ns("ec-home")}}
	for _, c := range []struct {
		a         Action
		ns        object.Namespace
		everybody bool
	}{
		{Subscribe, ns("ec-home-1"), false}, {SubscribeNamespace, ns("ec-home"), false}, {Fetch, ns("ec-atsc"), true}, {Publish, ns("ec-atsc"), false},
		{SubscribeNamespace, object.Namespace{}, true}, {SubscribeNamespace, nil, false},
	} {
		if p.Everybody(c.a, c.ns) != c.everybody {
			t.Errorf("everybody may %v %v: %v", c.a, c.ns, !c.everybody)
		}
	}

	if err := os.WriteFile(file, []byte("namespace:ec\naddress:192.0.2.0/33\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, why := range map[string]string{
		"ec-adult": "no kind and value", "namespace:": "no kind and value", "namespace:ec--ts": "", "key:12": "64 hex digits", "everybody:x": "unknown kind",
		"address:home": "no address", "address:::ffff:192.0.2.1": "written as one", "@" + file: file + ":2", "@" + file + "x": "no such file",
	} {
		if _, err := ParseList([]string{text}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseList(make([]string, 1)); err == nil {
		t.Error("an empty entry")
	}
	many := make([]string, maxListed+1)
	for i := range many {
		many[i] = "token:x"
	}
	if _, err := ParseList(many); err == nil {
		t.Error("more entries than there may be")
	}
}

// FuzzParseList: no entry makes it fail, and what is taken is a list.
func FuzzParseList(f *testing.F) {
	for _, s := range []string{"namespace:ec-atsc-2065-3", "source:roof", "key:" + strings.Repeat("0", 64), "token:5f1c", "address:192.0.2.0/24", "address:::1", "address:::ffff:1.2.3.4/96"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "@") {
			return
		}
		l, err := ParseList([]string{text})
		if n := len(l.Namespaces) + len(l.Keys) + len(l.Tokens) + len(l.Addresses); (err == nil) != (n == 1) {
			t.Errorf("%q: %d entries, %v", text, n, err)
		}
		(&Policy{Allow: l}).Refuses(Peer{Addr: netip.MustParseAddr("::1")})
		(&Policy{Deny: l}).Bars(object.Namespace{"ec"})
	})
}
