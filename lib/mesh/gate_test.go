package mesh

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// place is what a test dials.
type place struct {
	gate     *Gate
	certs    *keys.Certificates
	address  string
	accepted chan *moqt.Session
}

func listen(t *testing.T, address string, g *Gate) *place {
	t.Helper()
	certs, err := keys.Open(keys.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Tickets == nil {
		g.Tickets = NewTickets(t.TempDir())
	}
	l, err := moqt.Listen(address, certs.TLS(), &moqt.Config{Authorize: g.Admit, AskCertificate: len(g.Peers) > 0})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{gate: g, certs: certs, address: l.Addr().String(), accepted: make(chan *moqt.Session, 10)}
	if !strings.Contains(address, "://") {
		p.address = "moqt://" + p.address
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go s.Run(ctx)
			p.accepted <- s
		}
	}()
	t.Cleanup(func() { cancel(); l.Close(); <-done })
	return p
}

// dial returns what the place says of a session that shows a ticket and a key, if there are any.
func (p *place) dial(t *testing.T, token []byte, key *keys.Certificates) (right string, ok bool, err error) {
	t.Helper()
	conf, err := moqt.PinFingerprint(p.certs.Pin().String())
	if err != nil {
		t.Fatal(err)
	}
	if key != nil {
		conf.Certificates = []tls.Certificate{*key.Identity()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mc := &moqt.Config{}
	if token != nil {
		mc.Tokens = []moqt.Token{{AliasType: wire.TokenUseValue, Type: ticket.TokenType, Value: token}}
	}
	s, err := moqt.Dial(ctx, p.address, conf, mc)
	if err != nil {
		<-p.accepted
		return "", false, err
	}
	go s.Run(ctx)
	right, ok = p.gate.Peer(ctx, <-p.accepted)
	s.Close(wire.NoError, "")
	return right, ok, nil
}

// newKey is that of another relay.
func newKey(t *testing.T) *keys.Certificates {
	t.Helper()
	certs, err := keys.Open(keys.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

var stranger = func(*moqt.Session) error { return notLocal("not this time") }

func TestKeys(t *testing.T) {
	listed, other := newKey(t), newKey(t)
	p := listen(t, "127.0.0.1:0", &Gate{Peers: []ID{IDOfKey(listed.PrivateKey())}, Local: stranger})
	for name, test := range map[string]struct {
		key *keys.Certificates
		ok  bool
	}{"listed": {listed, true}, "another": {other, false}, "none": {nil, false}} {
		right, ok, err := p.dial(t, nil, test.key)
		if ok != test.ok || err != nil {
			t.Errorf("%s: %q, %v, %v", name, right, ok, err)
		}
	}
}

// A ticket opens the door for as long as it is good, to as many as it says, and those may come again.
func TestTickets(t *testing.T) {
	dir := t.TempDir()
	p := listen(t, "127.0.0.1:0", &Gate{Tickets: NewTickets(dir), Local: stranger})
	issue := func(terms Terms, at time.Time) *ticket.Ticket {
		t.Helper()
		tk := &ticket.Ticket{Addresses: []string{p.address}}
		if err := NewTickets(dir).Issue(tk, terms, at); err != nil { // as by hand
			t.Fatal(err)
		}
		return tk
	}
	one, two := [16]byte{1}, [16]byte{2}
	open, single := issue(Terms{}, time.Now()), issue(Terms{Life: time.Hour, Uses: 1}, time.Now())
	expired := issue(Terms{Life: time.Hour}, time.Now().Add(-2*time.Hour))
	unknown := &ticket.Ticket{Addresses: open.Addresses, Secret: ticket.NewSecret()}
	for _, test := range []struct {
		name   string
		ticket *ticket.Ticket
		who    [16]byte
		code   wire.SessionCode
		words  string
	}{
		{"open", open, one, 0, ""},
		{"open", open, two, 0, ""},
		{"single", single, one, 0, ""},
		{"single, another", single, two, wire.Unauthorized, "the ticket is spent"},
		{"single, the first again", single, one, 0, ""},
		{"expired", expired, one, wire.ExpiredAuthToken, "the ticket has expired"},
		{"unknown", unknown, one, wire.Unauthorized, "does not know this ticket"},
	} {
		right, ok, err := p.dial(t, test.ticket.Token(test.who), nil)
		if test.words == "" {
			if err != nil || !ok || right != "ticket" {
				t.Errorf("%s: %q, %v, %v", test.name, right, ok, err)
			}
			continue
		}
		refused, is := errors.AsType[*moqt.SessionError](err)
		if !is || refused.Code != test.code || !strings.Contains(refused.Reason, test.words) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	// What is written down opens no door, and nobody else may read it.
	b, err := os.ReadFile(filepath.Join(dir, TicketsFile))
	if err != nil || strings.Contains(string(b), string(open.Secret)) || strings.Contains(open.String(), "\n") {
		t.Errorf("%q, %v", b, err)
	}
	if st, err := os.Stat(filepath.Join(dir, TicketsFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if strings.Count(string(b), "\n") != 3 {
		t.Errorf("want the two that are good and the last one made, have\n%s", b)
	}
	if err := os.Chmod(filepath.Join(dir, TicketsFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := NewTickets(dir).Redeem(open.Token(one), time.Now()); err == nil {
		t.Error("a file that others may read is used")
	}
}

// Who runs this very program as this user is local, over loopback and Unix sockets, and never over HTTP.
func TestLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "[::]:0": true, "unix://" + filepath.Join(t.TempDir(), "relay"): true, "tcp://127.0.0.1:0": true,
		"ws://127.0.0.1:0": false, "https": false,
	} {
		t.Run(address, func(t *testing.T) {
			web := address == "https"
			if web {
				address = "127.0.0.1:0"
			}
			p := listen(t, address, &Gate{})
			p.address = strings.Replace(p.address, "[::]", "127.0.0.1", 1)
			if web {
				p.address = strings.Replace(p.address, "moqt:", "https:", 1)
			}
			right, ok, err := p.dial(t, nil, nil)
			if err != nil || ok != want {
				t.Errorf("%q, %v, %v", right, ok, err)
			}
		})
	}
}

// What another program passes on is not local, although that program is the user's own.
func TestForwarded(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program; skipped with -short")
	}
	program := filepath.Join(t.TempDir(), "forward")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/forward").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, network := range []string{"unix", "tcp", "moqt"} {
		t.Run(network, func(t *testing.T) {
			address := map[string]string{"unix": "unix://" + filepath.Join(t.TempDir(), "relay"), "tcp": "tcp://127.0.0.1:0", "moqt": "127.0.0.1:0"}[network]
			p := listen(t, address, &Gate{})
			p.address = forward(t, program, p.address)
			right, ok, err := p.dial(t, nil, nil)
			if err != nil || ok || !strings.Contains(right, "another program") {
				t.Errorf("%q, %v, %v", right, ok, err)
			}
		})
	}
}

// The tools of this project that lie beside this program count as the user's own for publishing. What lies elsewhere, has another name, or
// passes on what others send, does not.
func TestTool(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program; skipped with -short")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := func(name string) string { // a tool of ours, as far as its name and its folder tell
		t.Helper()
		path := filepath.Join(filepath.Dir(self), name)
		if out, err := exec.Command("go", "build", "-o", path, "./testdata/forward").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() { os.Remove(path) })
		return path
	}
	elsewhere := filepath.Join(t.TempDir(), "ec-pub")
	if out, err := exec.Command("go", "build", "-o", elsewhere, "./testdata/forward").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, c := range map[string]struct {
		program string
		private bool // the relay is
		ok      bool
	}{
		"ec-pub beside": {beside("ec-pub"), false, true}, "ec-iroh beside": {beside("ec-iroh"), false, false}, "proxy beside": {beside("proxy"), false, false},
		"ec-pub elsewhere": {elsewhere, false, false}, "ec-relay beside": {beside("ec-relay"), false, true},
		"ec-sub beside a private one":   {beside("ec-sub"), true, true},
		"ec-relay beside a private one": {beside("ec-relay"), true, false}, // it would give on what is private
	} {
		for _, network := range []string{"unix", "tcp", "moqt"} {
			address := map[string]string{"unix": "unix://" + filepath.Join(t.TempDir(), "relay"), "tcp": "tcp://127.0.0.1:0", "moqt": "127.0.0.1:0"}[network]
			g := &Gate{Private: c.private}
			p := listen(t, address, g)
			conf, err := moqt.PinFingerprint(p.certs.Pin().String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := moqt.Dial(ctx, forward(t, c.program, p.address), conf, nil)
			if err != nil {
				t.Fatal(err)
			}
			go s.Run(ctx)
			here := <-p.accepted
			grant, err := g.Trusted(here)
			_, peer := g.Peer(ctx, here)
			s.Close(wire.NoError, "")
			if (err == nil) != c.ok || (grant != nil) != c.ok || peer {
				t.Errorf("%s over %s: %v, %v; a peer: %v", name, network, grant, err, peer)
			}
		}
	}
}

// forward starts a program that passes on what comes to the address returned.
func forward(t *testing.T, program, to string) string {
	t.Helper()
	cmd := exec.Command(program, to)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestHolderIsStable(t *testing.T) {
	key := newKey(t).PrivateKey()
	if Holder(key) != Holder(slices.Clone(key)) || Holder(key) == Holder(newKey(t).PrivateKey()) {
		t.Error("not one holder for one key")
	}
}

// Who is at the other end is proven alike whoever dialed: by the key, or by the socket of the same user.
func TestWho(t *testing.T) {
	other := newKey(t)
	for address, local := range map[string]bool{"127.0.0.1:0": false, "unix://" + filepath.Join(t.TempDir(), "relay"): true, "ws://127.0.0.1:0": false} {
		g := &Gate{Peers: []ID{{1}}}
		p := listen(t, address, g)
		conf, err := moqt.PinFingerprint(p.certs.Pin().String())
		if err != nil {
			t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{*other.Identity()}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		s, err := moqt.Dial(ctx, p.address, conf, nil)
		if err != nil {
			t.Fatal(err)
		}
		go s.Run(ctx)
		here, there := g.Who(<-p.accepted), g.Who(s)
		s.Close(wire.NoError, "")
		wantHere, wantThere := "", ""
		switch {
		case local:
			wantHere, wantThere = "same user on this machine", "same user on this machine"
		case !strings.Contains(address, "ws:"):
			wantHere, wantThere = "key "+IDOfKey(other.PrivateKey()).String(), "key "+IDOfKey(p.certs.PrivateKey()).String()
		}
		if here != wantHere || there != wantThere {
			t.Errorf("%s: %q came, %q was dialed, want %q and %q", address, here, there, wantHere, wantThere)
		}
	}
}
