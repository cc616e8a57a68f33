package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func at(text string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

type named struct{ network, text string }

func (n named) Network() string { return n.network }
func (n named) String() string  { return n.text }

func TestByAddress(t *testing.T) {
	for _, c := range []struct {
		from  net.Addr
		name  string
		block string
	}{
		{at("192.0.2.7:1"), "192.0.2.7", "192.0.2.0/24"},
		{at("[::ffff:192.0.2.7]:1"), "192.0.2.7", "192.0.2.0/24"},
		{at("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{at("[fe80::1%eth0]:1"), "fe80::/64", "fe80::/48"},
		{at("127.0.0.1:1"), thisMachine, ""},
		{at("127.9.9.9:1"), thisMachine, ""},
		{at("[::1]:1"), thisMachine, ""},
		{&net.UnixAddr{Net: "unix"}, thisMachine, ""},
		{named{"iroh", "iroh://abc"}, "iroh://abc", "iroh"},
		{named{"tcp", "192.0.2.7:1"}, "192.0.2.7", "192.0.2.0/24"},
	} {
		if w := ByAddress(c.from); w.Name != c.name || w.Block != c.block {
			t.Errorf("%v: %q in %q, want %q in %q", c.from, w.Name, w.Block, c.name, c.block)
		}
	}
}

func TestDefaults(t *testing.T) {
	var small, none Table
	small[Sessions].All, none[Sessions].All = 10, -1
	for _, c := range []struct {
		t          Table
		peer, wide int64
		handshakes int64
	}{{Table{}, 125, 500, 500}, {small, 8, 8, 256}, {none, -1, -1, 256}} {
		d := c.t.WithDefaults()
		if d[Sessions].Peer != c.peer || d[Sessions].Wide != c.wide || d[Handshakes].All != c.handshakes {
			t.Errorf("%+v, handshakes %+v", d[Sessions], d[Handshakes])
		}
		for _, k := range Kinds() {
			if b := d[k]; b.Peer == 0 || b.Wide == 0 || b.All == 0 {
				t.Errorf("%v has no default: %+v", k, b)
			}
		}
	}
}

// book is one with bounds of one kind alone.
func book(k Kind, b Bounds) *Book {
	var t Table
	for i := range t {
		t[i] = Bounds{-1, -1, -1}
	}
	t[k] = b
	return New(Config{Table: t})
}

// take takes one after the other, and returns how many were taken.
func take(b *Book, k Kind, n int, who func(i int) Who) (taken int, release func()) {
	var over []func()
	for i := range n {
		p := b.Enter(who(i))
		r, err := p.Take(k, 1)
		if err != nil {
			p.Leave()
			continue
		}
		taken++
		over = append(over, r, p.Leave)
	}
	return taken, func() {
		for _, f := range over {
			f()
		}
	}
}

func from(format string) func(i int) Who {
	return func(i int) Who {
		text := format
		if strings.Contains(format, "%") {
			text = fmt.Sprintf(format, i)
		}
		return ByAddress(at(text))
	}
}

// A peer is bounded by itself, then with its block, and then all are.
func TestPeerBeforeBlockBeforeAll(t *testing.T) {
	b := book(Sessions, Bounds{3, 5, 8})
	one, back := take(b, Sessions, 100, from("192.0.2.7:1"))
	block, back2 := take(b, Sessions, 100, from("192.0.2.%d:1"))
	other, back3 := take(b, Sessions, 100, from("198.51.%d.1:1"))
	if one != 3 || block != 2 || other != 3 {
		t.Errorf("%d of one, %d of its block, %d of others", one, block, other)
	}
	back2()
	if n, over := take(b, Sessions, 100, from("203.0.113.1:1")); n != 2 {
		t.Errorf("%d once others left", n)
	} else {
		over()
	}
	back()
	back3()
	if n := b.Refused()[Sessions]; n == 0 {
		t.Error("nothing was refused")
	}
	if b.Sweep(); b.Accounts() != 0 {
		t.Errorf("%d accounts are left", b.Accounts())
	}
}

// Other bounds hold at once for peers that are there, too.
func TestTune(t *testing.T) {
	b := book(Sessions, Bounds{2, 4, 8})
	if n, _ := take(b, Sessions, 10, from("192.0.2.7:1")); n != 2 {
		t.Errorf("%d", n)
	}
	next := b.Bounds()
	next[Sessions] = Bounds{3, 4, 8}
	b.Tune(next)
	if n, _ := take(b, Sessions, 10, from("192.0.2.7:1")); n != 1 {
		t.Errorf("%d more", n)
	}
	if n, _ := take(b, Sessions, 10, from("192.0.2.8:1")); n != 1 {
		t.Errorf("%d more of the block", n)
	}
}

// A token has the wide bounds wherever it is shown, or its own.
func TestToken(t *testing.T) {
	b := book(Sessions, Bounds{3, 5, 100})
	if n, _ := take(b, Sessions, 100, func(int) Who { return Who{Name: "jwt a"} }); n != 5 {
		t.Errorf("%d with a token", n)
	}
	var own Set
	own[Sessions] = 20
	if n, _ := take(b, Sessions, 100, func(int) Who { return Who{Name: "jwt b", Own: own} }); n != 20 {
		t.Errorf("%d with a token that has its own bound", n)
	}
}

// Who is trusted is asked when something would be refused, and has no bounds from then on.
func TestTrusted(t *testing.T) {
	b := book(Sessions, Bounds{1, 1, 1})
	asked := 0
	p := b.Enter(Who{Name: "x", Trusted: func() bool { asked++; return true }})
	for range 10 {
		if _, err := p.Take(Sessions, 1); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if n, _ := take(b, Sessions, 10, from("192.0.2.%d:1")); n != 0 {
		t.Errorf("%d beside one who has all", n)
	}
	if n, _ := take(b, Sessions, 10, func(int) Who { return Who{Free: true} }); n != 10 {
		t.Errorf("%d of 10 that are free", n)
	}
}

func TestNil(t *testing.T) {
	var b *Book
	p := b.Enter(Who{})
	if _, err := p.Take(Sessions, 1); err != nil {
		t.Error(err)
	}
	if err := p.Wait(context.Background(), In, 1<<40, nil); err != nil {
		t.Error(err)
	}
	p.Use(Stored, 1)
	p.Refund(Names, 1)
	p.Leave()
	b.Sweep()
	if done, ok := b.Admit(at("192.0.2.1:1")); !ok || b.Prove(at("192.0.2.1:1")) {
		t.Error("not admitted")
	} else {
		done()
	}
}

// What comes by the second may come at once for a while, and then as fast as the bound says.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(Names, Bounds{10, -1, -1})
		p := b.Enter(ByAddress(at("192.0.2.1:1")))
		spend := func() (n int) {
			for p.Spend(Names, 1) == nil {
				n++
			}
			return n
		}
		if n := spend(); n != 200 {
			t.Errorf("%d at once", n)
		}
		time.Sleep(1050 * time.Millisecond)
		if n := spend(); n != 10 {
			t.Errorf("%d a second later", n)
		}
		total := 0
		for range 100 { // also if it is asked in between
			time.Sleep(30 * time.Millisecond)
			total += spend()
		}
		if total < 29 || total > 31 {
			t.Errorf("%d in three seconds", total)
		}
		p.Refund(Names, 5)
		if n := spend(); n != 5 {
			t.Errorf("%d after as many were given back", n)
		}
		p.Leave()
		time.Sleep(21 * time.Second)
		if b.Sweep(); b.Accounts() != 0 {
			t.Error("an account is left that counts nothing")
		}
	})
}

// Bytes wait until they may come, in all sessions of a peer together.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(In, Bounds{1 << 20, -1, -1})
		began := time.Now()
		done := make(chan error)
		for range 4 {
			go func() {
				p := b.Enter(ByAddress(at("192.0.2.1:1")))
				defer p.Leave()
				for range 100 {
					if err := p.Wait(context.Background(), In, 64<<10, nil); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(began).Seconds(); d < 22.5 || d > 23.5 { // 25 MiB, of which 2 may come at once
			t.Errorf("%v", d)
		}
		p := b.Enter(ByAddress(at("192.0.2.1:1")))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Wait(ctx, In, 1<<30, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		stop := make(chan struct{})
		close(stop)
		if err := p.Wait(context.Background(), In, 1, stop); err != nil {
			t.Error(err)
		}
	})
}

// What is stored counts for a day.
func TestStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(Stored, Bounds{-1, 1000, -1})
		p := b.Enter(Who{Name: "jwt a"})
		defer p.Leave()
		for range 10 {
			if err := p.Spend(Stored, 0); err != nil {
				t.Fatal(err)
			}
			p.Use(Stored, 100)
			time.Sleep(time.Hour)
		}
		p.Use(Stored, 1)
		if err := p.Spend(Stored, 0); err == nil || err.Error() != "more than 1000 bytes stored in 24 hours from jwt a" {
			t.Error(err)
		}
		time.Sleep(14*time.Hour + time.Minute)
		if err := p.Spend(Stored, 0); err != nil {
			t.Error(err)
		}
	})
}

// Many addresses take bounded memory, and of a block not more accounts are made than it may begin connections.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{})
		admitted := 0
		for i := range 20_000 {
			if done, ok := b.Admit(at(fmt.Sprintf("[2001:db8:1:%x::1]:1", i%65536))); ok {
				admitted++
				done()
			}
		}
		if admitted != 1000 || b.Accounts() > 2100 {
			t.Errorf("%d admitted of one block, %d accounts", admitted, b.Accounts())
		}
		for i := range 80_000 {
			if done, ok := b.Admit(at(fmt.Sprintf("[2001:%x:%x::1]:1", i>>16, i&0xffff))); ok {
				done()
			}
		}
		if n := b.Accounts(); n > maxAccounts+1 {
			t.Errorf("%d accounts", n)
		}
		if !b.Prove(at("192.0.2.1:1")) {
			t.Error("nobody has to prove the address")
		}
		time.Sleep(time.Minute)
		if b.Sweep(); b.Accounts() != 0 {
			t.Errorf("%d accounts are left", b.Accounts())
		}
		if b.Prove(at("192.0.2.1:1")) {
			t.Error("addresses are to be proved although nothing is on")
		}
	})
}

// Half of what may be set up at an address at a time can be taken by whoever invents addresses.
func TestProve(t *testing.T) {
	b := book(Handshakes, Bounds{4, 8, 100})
	a := at("192.0.2.1:1")
	for i, want := range []bool{false, false, true, true} {
		if got := b.Prove(a); got != want {
			t.Errorf("%d on: %v", i, got)
		}
		if _, ok := b.Admit(a); !ok {
			t.Errorf("%d is refused", i)
		}
	}
	if b.Prove(at("198.51.100.1:1")) {
		t.Error("others have to prove their address, too")
	}
}

// The log has a line in ten seconds for each kind, and says how many it leaves out.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		b := New(Config{Logger: slog.New(slog.NewTextHandler(&text, nil))})
		p := b.Enter(ByAddress(at("192.0.2.1:1")))
		for range 100 {
			for range 100 {
				p.Spend(Names, 10)
			}
			time.Sleep(time.Second)
		}
		lines := strings.Count(text.String(), "\n")
		if lines != 10 || !strings.Contains(text.String(), `limit=names peer=192.0.2.1 err="more than 20 names a second from 192.0.2.1"`) {
			t.Errorf("%d lines: %s", lines, text.String())
		}
	})
}

func TestParseKind(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	if _, err := ParseKind("session"); err == nil || !strings.Contains(err.Error(), "there are connects, fetches") {
		t.Error(err)
	}
}

func BenchmarkWait(b *testing.B) {
	bk := New(Config{})
	p := bk.Enter(ByAddress(at("192.0.2.1:1")))
	b.ReportAllocs()
	for b.Loop() {
		p.Wait(context.Background(), Out, 0, nil)
	}
}

// A clock that is set back makes nobody wait for the time to come again.
func TestClockIsSetBack(t *testing.T) {
	b := book(Names, Bounds{10, -1, -1})
	p := b.Enter(ByAddress(at("192.0.2.1:1")))
	for range 100 {
		if err := p.Spend(Names, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range p.accounts { // as it would be if the clock were an hour behind what it was
		for k := range a.since {
			a.since[k] += int64(time.Hour)
		}
	}
	if err := p.Spend(Names, 1); err != nil {
		t.Error(err)
	}
	if wait, _ := p.late(Names, 1); wait > 0 {
		t.Errorf("wait %v", wait)
	}
}
