package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)} }

func open(t *testing.T, dir string, c *clock) *Certificates {
	t.Helper()
	s, err := Open(Config{Dir: dir, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	program = &tls.ClientHelloInfo{SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.Ed25519}}
	browser = &tls.ClientHelloInfo{SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256}}
)

// chain is what a client sees.
func chain(t *testing.T, s *Certificates, hello *tls.ClientHelloInfo) (list []*x509.Certificate) {
	t.Helper()
	c, err := s.Get(hello)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range c.Certificate {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	return list
}

// TestKeyStays: the key is made once, is its owner's alone, and is never replaced.
func TestKeyStays(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	first := open(t, dir, c)
	path := filepath.Join(dir, KeyFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	b, _ := os.ReadFile(path)
	if block, rest := pem.Decode(b); block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Errorf("%s", b)
	}
	c.add(10 * 365 * day)
	again := open(t, dir, c)
	if again.Pin() != first.Pin() || !again.PrivateKey().Equal(first.PrivateKey()) {
		t.Error("another key after a restart")
	}
	if OfKey(chain(t, again, program)[0]) != first.Pin() {
		t.Error("the certificate has another key")
	}
	os.Chmod(path, 0o640)
	var mode *modeError
	if _, err := Open(Config{Dir: dir}); !errors.As(err, &mode) || mode.Hint() != "chmod 600 "+path {
		t.Errorf("readable by others: %v", err)
	}
	for name, garbage := range map[string]string{"empty": "", "no PEM": "garbage", "another kind": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecdsaKey(t)}))} {
		os.WriteFile(path, []byte(garbage), 0o600)
		os.Chmod(path, 0o600)
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(path); string(b) != garbage {
			t.Errorf("%s: replaced", name)
		}
	}
}

func ecdsaKey(t *testing.T) []byte {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestKeyMadeOnce: processes that start together have one key.
func TestKeyMadeOnce(t *testing.T) {
	dir := t.TempDir()
	pins := make([]Pin, 8)
	var wg sync.WaitGroup
	for i := range pins {
		wg.Go(func() {
			if key, err := LoadKey(dir); err != nil {
				t.Error(err)
			} else {
				pins[i] = OfPrivateKey(key)
			}
		})
	}
	wg.Wait()
	if slices.Max(slices.Collect(indices(pins))) != 0 {
		t.Errorf("several keys: %v", pins)
	}
}

// indices are where each pin is found first.
func indices(pins []Pin) func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, p := range pins {
			if !yield(slices.Index(pins, p)) {
				return
			}
		}
	}
}

// TestInMemory: without a folder nothing is kept.
func TestInMemory(t *testing.T) {
	a, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(Config{})
	if err != nil || a.Pin() == b.Pin() {
		t.Errorf("one key for two relays, %v", err)
	}
}

// TestWhoSeesWhat: programs see the key, browsers an ECDSA certificate as they want, for which the key vouches.
func TestWhoSeesWhat(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	p, b := chain(t, s, program), chain(t, s, browser)
	if len(p) != 1 || p[0].PublicKeyAlgorithm != x509.Ed25519 || OfKey(p[0]) != s.Pin() {
		t.Errorf("programs see %v", p)
	}
	if !p[0].Equal(s.Program()) {
		t.Error("Program is not what programs see")
	}
	if key, ok := b[0].PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("browsers see %T", b[0].PublicKey)
	}
	if life := b[0].NotAfter.Sub(b[0].NotBefore); life > 13*day {
		t.Errorf("valid for %v", life)
	}
	if err := Verify(b, c.Now(), s.Pin()); err != nil {
		t.Errorf("the key does not vouch for it: %v", err)
	}
	for _, list := range [][]*x509.Certificate{p, b} {
		if got := Offered(list, c.Now()); got != s.Pin() {
			t.Errorf("offered %v, want %v", got, s.Pin())
		}
		if err := list[0].VerifyHostname("localhost"); err != nil {
			t.Error(err)
		}
	}
}

// TestVerify: what each kind of pin accepts.
func TestVerify(t *testing.T) {
	c := newClock()
	s, other := open(t, t.TempDir(), c), open(t, t.TempDir(), c)
	p, b, stranger := chain(t, s, program), chain(t, s, browser), chain(t, other, browser)
	soon, later := c.Now().Add(day), c.Now().Add(20*day)
	for _, tt := range []struct {
		name  string
		chain []*x509.Certificate
		now   time.Time
		pin   Pin
		ok    bool
	}{
		{"key", p, soon, s.Pin(), true},
		{"key, certificate over", p, soon.Add(10 * 365 * day), s.Pin(), true},
		{"certificate", p, soon, OfCertificate(p[0]), true},
		{"certificate over", b, later, OfCertificate(b[0]), false},
		{"certificate of the future", b, soon.Add(-9 * day), OfCertificate(b[0]), false},
		{"key of the certificate", b, later, OfKey(b[0]), true},
		{"key that vouches", b, soon, s.Pin(), true},
		{"key that vouched once", b, later, s.Pin(), false},
		{"another key", p, soon, other.Pin(), false},
		{"another relay's certificate", b, soon, OfCertificate(stranger[0]), false},
		{"the key merely shown", []*x509.Certificate{stranger[0], p[0]}, soon, s.Pin(), false},
		{"the key with its word for another certificate", []*x509.Certificate{stranger[0], b[0], p[0]}, soon, s.Pin(), false},
		{"certificate that is not the first", []*x509.Certificate{stranger[0], p[0]}, soon, OfCertificate(p[0]), false},
		{"no certificate", nil, soon, s.Pin(), false},
	} {
		if err := Verify(tt.chain, tt.now, other.Pin(), tt.pin); tt.pin != other.Pin() && (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := Verify(tt.chain, tt.now, tt.pin); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := Verify(p, soon, other.Pin()); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), s.Pin().String()) {
		t.Errorf("no word of what was shown: %v", err)
	}
	if err := Verify(p, soon); !errors.Is(err, ErrPin) {
		t.Errorf("no pin: %v", err)
	}
}

// TestParsePin: as openssl prints it, and as ec-relay does.
func TestParsePin(t *testing.T) {
	want := sha256.Sum256(nil)
	s := Pin(want).String()
	if got, err := ParsePin(s); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParsePin(strings.ToUpper(s[:2] + ":" + s[2:])); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "abcd", s + "00", strings.Repeat("zz", 32)} {
		if _, err := ParsePin(bad); err == nil {
			t.Errorf("%q", bad)
		}
	}
}

// TestBrowserCertificates: over a year, looked at every six hours, the relay off now and then and restarted, whatever browsers see is
// valid for hours to come and was told a day before.
func TestBrowserCertificates(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	told := map[[32]byte]time.Time{}
	since := c.Now() // the relay had nothing to go on with
	seen := map[Pin]bool{}
	for step := range 365 * 24 / 6 {
		switch {
		case step%97 == 50: // a restart changes nothing
			was := chain(t, s, browser)[0]
			if s = open(t, dir, c); !chain(t, s, browser)[0].Equal(was) {
				t.Fatalf("step %d: another certificate after a restart", step)
			}
		case step%500 == 499: // off for longer than certificates last
			c.add(15 * day)
			s, since = open(t, dir, c), c.Now()
		case step%130 == 129: // off for a while
			c.add(4 * day)
			s = open(t, dir, c)
		}
		list := chain(t, s, browser)
		leaf := list[0]
		seen[OfCertificate(leaf)] = true
		if err := valid(leaf, c.Now().Add(8*time.Hour)); err != nil {
			t.Fatalf("step %d: soon over: %v", step, err)
		}
		if err := Verify(list, c.Now(), s.Pin()); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		hashes := s.Hashes()
		if len(hashes) != 2 || hashes[0].SHA256 != OfCertificate(leaf) || !hashes[0].Until.Equal(leaf.NotAfter) {
			t.Fatalf("step %d: %v", step, hashes)
		}
		for _, h := range hashes {
			if told[h.SHA256].IsZero() {
				told[h.SHA256] = c.Now()
			}
		}
		if at := told[OfCertificate(leaf)]; c.Now().Sub(at) < day && !at.Equal(since) {
			t.Fatalf("step %d: in use %v after it was told", step, c.Now().Sub(at))
		}
		c.add(6 * time.Hour)
	}
	if len(seen) < 50 {
		t.Errorf("%d certificates in a year", len(seen))
	}
	if st, err := os.Stat(filepath.Join(dir, BrowserFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

// TestToldBeforeUse: while the relay runs, each certificate is told for browserWait before browsers see it.
func TestToldBeforeUse(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	for range 20 {
		next := s.Hashes()[1].SHA256
		c.add(browserWait - time.Minute)
		if OfCertificate(chain(t, s, browser)[0]) == next {
			t.Fatal("in use before its time")
		}
		c.add(2 * time.Minute)
		if OfCertificate(chain(t, s, browser)[0]) != next {
			t.Fatal("another certificate than the one told")
		}
	}
}

// TestProgramCertificate: the certificate of programs stays for months, over restarts, and its replacement has the same key.
func TestProgramCertificate(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	first := s.Program()
	c.add(programValidity - programRenewal - time.Hour)
	if s = open(t, dir, c); !s.Program().Equal(first) {
		t.Error("replaced early")
	}
	c.add(2 * time.Hour)
	second := s.Program()
	if second.Equal(first) || OfKey(second) != OfKey(first) {
		t.Error("not renewed, or with another key")
	}
	if s = open(t, dir, c); !s.Program().Equal(second) {
		t.Error("not kept")
	}
	c.add(-programValidity) // the clock was wrong
	if err := valid(s.Program(), c.Now()); err != nil {
		t.Error(err)
	}
	os.WriteFile(filepath.Join(dir, CertificateFile), []byte("garbage"), 0o644)
	os.WriteFile(filepath.Join(dir, BrowserFile), []byte("garbage"), 0o600)
	if s = open(t, dir, c); OfKey(s.Program()) != OfKey(first) || len(s.Hashes()) != 2 {
		t.Error("damaged certificates are not made anew")
	}
}

// TestFolderUnwritable: what cannot be kept is used all the same.
func TestFolderUnwritable(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	first, old := s.Program(), s.Hashes()
	c.add(300 * day)
	if s.Program().Equal(first) || valid(s.Program(), c.Now()) != nil || s.Hashes()[0] == old[0] {
		t.Error("not renewed")
	}
}

// earlierStore is a folder as the version before keys left it.
func earlierStore(t *testing.T, made time.Time) (dir string, cert *x509.Certificate) {
	t.Helper()
	dir = t.TempDir()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: made.Add(-time.Hour), NotAfter: made.Add(13 * day)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(filepath.Join(dir, earlierFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, _ = x509.ParseCertificate(der)
	return dir, cert
}

// TestEarlierStore: who pinned the certificate of a store of the version before goes on while it lasts, and the key's pin works
// from the start.
func TestEarlierStore(t *testing.T) {
	c := newClock()
	dir, old := earlierStore(t, c.Now().Add(-5*day))
	s := open(t, dir, c)
	for _, hello := range []*tls.ClientHelloInfo{program, browser} {
		list := chain(t, s, hello)
		for _, pin := range []Pin{OfCertificate(old), s.Pin()} {
			if err := Verify(list, c.Now(), pin); err != nil {
				t.Error(err)
			}
		}
		if got := Offered(list, c.Now()); got != s.Pin() {
			t.Errorf("offered %v, want %v", got, s.Pin())
		}
	}
	if h := s.Hashes(); len(h) != 3 || h[0].SHA256 != OfCertificate(old) {
		t.Errorf("%v", h)
	}
	c.add(8*day + time.Minute)
	for _, hello := range []*tls.ClientHelloInfo{program, browser} {
		if list := chain(t, s, hello); list[0].Equal(old) || Verify(list, c.Now(), s.Pin()) != nil {
			t.Error("shown when it was over")
		}
	}
	if h := s.Hashes(); len(h) != 2 {
		t.Errorf("%v", h)
	}
	open(t, dir, c)
	if _, err := os.Stat(filepath.Join(dir, earlierFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file is still there: %v", err)
	}
}

// TestOwnCertificate: the key vouches for a certificate that the relay is given, and for the one that replaces it.
func TestOwnCertificate(t *testing.T) {
	c := newClock()
	given, first := earlierStore(t, c.Now())
	file := filepath.Join(given, earlierFile)
	s, err := Open(Config{Dir: t.TempDir(), Now: c.Now, Cert: file, Key: file})
	if err != nil {
		t.Fatal(err)
	}
	check := func(want *x509.Certificate) {
		t.Helper()
		for _, hello := range []*tls.ClientHelloInfo{program, browser} {
			list := chain(t, s, hello)
			if !list[0].Equal(want) {
				t.Fatal("another certificate is shown")
			}
			if err := Verify(list, c.Now(), s.Pin()); err != nil {
				t.Error(err)
			}
		}
		if h := s.Hashes(); len(h) != 1 || h[0].SHA256 != OfCertificate(want) {
			t.Errorf("%v", h)
		}
	}
	check(first)
	again, second := earlierStore(t, c.Now())
	os.Rename(filepath.Join(again, earlierFile), file)
	s.Refresh()
	check(second)
	os.WriteFile(file, []byte("garbage"), 0o600)
	s.Refresh()
	check(second)
	if _, err := Open(Config{Cert: file, Key: file}); err == nil {
		t.Error("garbage is taken")
	}
}

// TestCertificateFromPipes: a certificate and its key may come through pipes, which can be read only once, as with --cert <(…) --key <(…).
func TestCertificateFromPipes(t *testing.T) {
	c := newClock()
	given, _ := earlierStore(t, c.Now())
	b, err := os.ReadFile(filepath.Join(given, earlierFile))
	if err != nil {
		t.Fatal(err)
	}
	pipe := func() string {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		w.Close()
		return fmt.Sprintf("/proc/self/fd/%d", r.Fd())
	}
	conf := Config{Now: c.Now, Dir: t.TempDir(), Cert: pipe(), Key: pipe()}
	if err := Check(conf); err != nil {
		t.Error(err)
	}
	if _, err := Open(conf); err != nil {
		t.Error(err)
	}
}

// TestBear: a relay goes by the names in what it shows: its own, and those of a certificate it was given.
func TestBear(t *testing.T) {
	name, _ := os.Hostname()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(day), DNSNames: []string{"relay.example", "*.tv.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	file := filepath.Join(t.TempDir(), "given.pem")
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for cert, want := range map[string]map[string]bool{
		"":   {"localhost": true, name: true, "relay.example": false, "evil.example": false, "": false},
		file: {"relay.example": true, "one.tv.example": true, "tv.example": false, "evil.example": false},
	} {
		s, err := Open(Config{Cert: cert, Key: cert})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range want {
			if got := s.Bear(name); got != want {
				t.Errorf("%q in %q: %v", name, cert, got)
			}
		}
	}
}

// TestHandshake: a Go client is a program, and its handshake succeeds with each certificate.
func TestHandshake(t *testing.T) {
	c := newClock()
	dir, old := earlierStore(t, c.Now())
	s := open(t, dir, c)
	shake := func(pin Pin) (leaf *x509.Certificate) {
		t.Helper()
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		go tls.Server(b, s.TLS()).Handshake()
		client := tls.Client(a, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(st tls.ConnectionState) error {
			leaf = st.PeerCertificates[0]
			return Verify(st.PeerCertificates, c.Now(), pin)
		}})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := client.HandshakeContext(ctx); err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	if !shake(OfCertificate(old)).Equal(old) || !shake(s.Pin()).Equal(old) {
		t.Error("another certificate")
	}
	c.add(14 * day)
	if leaf := shake(s.Pin()); leaf.PublicKeyAlgorithm != x509.Ed25519 {
		t.Errorf("a program sees %v", leaf.PublicKeyAlgorithm)
	}
}
