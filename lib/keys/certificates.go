package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const day = 24 * time.Hour

// How long certificates last. Programs pin the key, so that theirs may be replaced at any time. A browser takes a certificate
// by its hash only if the certificate is ECDSA and valid for at most 14 days (W3C WebTransport, custom certificate
// requirements); the hash of each is told browserWait before its use.
const (
	programValidity = 365 * day
	programRenewal  = 90 * day // before the end
	browserValidity = 13 * day
	browserWait     = 6 * day // from making to use, and from the use of one to the use of the next
	browserReserve  = day / 2 // before the end
	skew            = time.Hour
)

// Config of what a relay shows. The zero value works: key and certificates live in memory.
type Config struct {
	Dir string // where the files are kept; empty: nowhere
	// Cert and Key are PEM files of a certificate to be shown in place of those made here; read again when they change.
	Cert, Key string
	// Hosts are names and addresses for the certificates made here. Default: localhost, the host's name, the loopback.
	Hosts []string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets what could not be renewed or kept. Default: none.
	Logger *slog.Logger
}

// Certificates are the certificates that a relay shows. Methods may be called concurrently.
type Certificates struct {
	c   Config
	key ed25519.PrivateKey
	pin Pin

	mu      sync.Mutex // guards what follows; certificates themselves never change
	program *tls.Certificate
	browser []*tls.Certificate // one in use, the next
	earlier *tls.Certificate   // of a version before this one, as long as clients may pin it; nil: none
	own     *tls.Certificate   // of Config.Cert; nil: none
}

// Open reads the key and the certificates, and makes those that are missing or have expired.
func Open(c Config) (*Certificates, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Hosts == nil {
		name, _ := os.Hostname()
		c.Hosts = []string{"localhost", name, "127.0.0.1", "::1"}
	}
	s := &Certificates{c: c}
	var err error
	if c.Dir == "" {
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		s.key, err = LoadKey(c.Dir)
	}
	if err != nil {
		return nil, err
	}
	s.pin = OfPrivateKey(s.key)
	if c.Dir != "" {
		s.read()
	}
	if err := s.renew(c.Now()); err != nil {
		return nil, err
	}
	if c.Cert != "" {
		return s, s.readOwn()
	}
	return s, nil
}

// Pin is the pin of the key: whatever certificate is shown is made of the key or comes with the key's word for it.
func (s *Certificates) Pin() Pin { return s.pin }

// PrivateKey is the key.
func (s *Certificates) PrivateKey() ed25519.PrivateKey { return s.key }

// TLS is the configuration of a server that shows these certificates.
func (s *Certificates) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.Get}
}

// Get returns the certificate that a client is shown: that of Config.Cert; without it, that of an earlier version while it lasts;
// otherwise the one that the client can verify. Programs verify Ed25519; browsers offer to verify ECDSA and not Ed25519.
func (s *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Now()
	if err := s.renew(now); err != nil {
		s.c.Logger.Error("certificate not renewed", "err", err)
	}
	switch {
	case s.own != nil:
		return s.own, nil
	case s.earlier != nil && valid(s.earlier.Leaf, now) == nil:
		return s.earlier, nil
	case slices.Contains(hello.SignatureSchemes, tls.Ed25519):
		return s.program, nil
	}
	return s.browser[0], nil
}

// Hash is how a browser knows a certificate (serverCertificateHashes).
type Hash struct {
	SHA256 [sha256.Size]byte
	Until  time.Time // the certificate is not valid afterwards
}

// Hashes returns the hashes of the certificates that browsers may be shown from now on: the one in use first, then the next. It
// returns none if browsers would not take the certificate by its hash.
func (s *Certificates) Hashes() []Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Now()
	if err := s.renew(now); err != nil {
		s.c.Logger.Error("certificate not renewed", "err", err)
	}
	show := s.browser
	switch {
	case s.own != nil:
		show = []*tls.Certificate{s.own}
	case s.earlier != nil && valid(s.earlier.Leaf, now) == nil:
		show = append([]*tls.Certificate{s.earlier}, show...)
	}
	var list []Hash
	for _, c := range show {
		if c.Leaf.PublicKeyAlgorithm == x509.ECDSA && c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) <= 14*day {
			list = append(list, Hash{sha256.Sum256(c.Leaf.Raw), c.Leaf.NotAfter})
		}
	}
	return list
}

// Identity returns the certificate made of the key itself, with the key, for a client that shows which relay it is.
func (s *Certificates) Identity() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program
}

// Program is the certificate that programs see now, for those that cannot pin a key.
func (s *Certificates) Program() *x509.Certificate {
	c, _ := s.Get(&tls.ClientHelloInfo{SignatureSchemes: []tls.SignatureScheme{tls.Ed25519}})
	return c.Leaf
}

// Bear reports whether a certificate that is shown has a name in it.
func (s *Certificates) Bear(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc([]*tls.Certificate{s.own, s.earlier, s.program}, func(c *tls.Certificate) bool {
		return c != nil && c.Leaf.VerifyHostname(name) == nil
	})
}

// Run renews what runs out, and looks whether the files of Config.Cert were replaced, until ctx ends.
func (s *Certificates) Run(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Refresh()
		}
	}
}

// Refresh does so now.
func (s *Certificates) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.renew(s.c.Now())
	if s.c.Cert != "" {
		err = errors.Join(err, s.readOwn())
	}
	if err != nil {
		s.c.Logger.Error("certificate not renewed", "err", err)
	}
}

// renew makes the certificates that are missing, have expired or expire soon. A certificate that cannot be written is used all
// the same.
func (s *Certificates) renew(now time.Time) error {
	return errors.Join(s.renewProgram(now), s.renewBrowser(now))
}

func (s *Certificates) renewProgram(now time.Time) error {
	if p := s.program; p != nil && !now.Before(p.Leaf.NotBefore) && now.Before(p.Leaf.NotAfter.Add(-programRenewal)) {
		return nil
	}
	made, err := s.sign(&x509.Certificate{NotBefore: now.Add(-skew), NotAfter: now.Add(programValidity)}, s.key)
	if err != nil {
		return err
	}
	s.program = made
	s.keep(CertificateFile, 0o644, certificatePEM(made))
	return nil
}

func (s *Certificates) renewBrowser(now time.Time) error {
	pair := slices.DeleteFunc(slices.Clone(s.browser), func(c *tls.Certificate) bool { return valid(c.Leaf, now) != nil })
	for len(pair) > 0 && !now.Before(takeover(pair)) {
		pair = pair[1:]
	}
	if len(pair) == 2 && len(s.browser) == 2 && pair[0] == s.browser[0] {
		return nil
	}
	for len(pair) < 2 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		made, err := s.sign(&x509.Certificate{NotBefore: now.Add(-skew), NotAfter: now.Add(browserValidity - skew)}, key)
		if err != nil {
			return err
		}
		pair = append(pair, made)
	}
	s.browser = pair
	var file []byte
	for _, c := range pair {
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			return err
		}
		file = append(append(file, certificatePEM(c)...), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	}
	s.keep(BrowserFile, 0o600, file)
	return nil
}

// takeover is when the first of a pair leaves its place to the second. A first one without a second stays to its reserve.
func takeover(pair []*tls.Certificate) time.Time {
	end := pair[0].Leaf.NotAfter.Add(-browserReserve)
	if len(pair) > 1 {
		if start := pair[1].Leaf.NotBefore.Add(skew + browserWait); start.Before(end) {
			return start
		}
	}
	return end
}

func (s *Certificates) keep(name string, mode fs.FileMode, b []byte) {
	if s.c.Dir == "" {
		return
	}
	if err := writeFile(filepath.Join(s.c.Dir, name), b, mode, true); err != nil {
		s.c.Logger.Error("certificate not kept, the next start makes another", "err", err)
	}
}

// sign makes a certificate for a key: of the relay's key itself, or with the relay's word for another one.
func (s *Certificates) sign(tmpl *x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	c, err := s.vouch(tmpl, key.Public())
	if err != nil {
		return nil, err
	}
	made := &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
	if OfKey(c) != s.pin {
		made.Certificate = append(made.Certificate, s.program.Leaf.Raw)
	}
	return made, nil
}

// vouch makes a certificate for a public key, signed by the relay's.
func (s *Certificates) vouch(tmpl *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber, tmpl.Subject = serial, pkix.Name{CommonName: "every.channel"}
	tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tmpl.BasicConstraintsValid = true
	for _, h := range s.c.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if h != "" {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, s.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// vouched is another certificate together with the key's word for it.
func (s *Certificates) vouched(c tls.Certificate) (*tls.Certificate, error) {
	word, err := s.vouch(&x509.Certificate{NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter}, c.Leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	c.Certificate = append(slices.Clone(c.Certificate), word.Raw, s.program.Leaf.Raw)
	return &c, nil
}

// readOwn reads the files of Config.Cert.
func (s *Certificates) readOwn() error {
	c, err := tls.LoadX509KeyPair(s.c.Cert, s.c.Key)
	if err != nil {
		return err
	}
	if s.own != nil && bytes.Equal(s.own.Leaf.Raw, c.Leaf.Raw) {
		return nil
	}
	own, err := s.vouched(c)
	if err == nil {
		s.own = own
	}
	return err
}

// read reads the certificates in the folder. What is no certificate of this key, damaged, or not to be read is said and made anew;
// of an earlier version's, which cannot be made anew, it is only said.
func (s *Certificates) read() {
	if err := s.readProgram(); err != nil {
		s.c.Logger.Warn("certificate of programs made anew", "err", err)
	}
	if err := s.renewProgram(s.c.Now()); err != nil {
		return // renew says so again
	}
	if err := s.readBrowser(); err != nil {
		s.c.Logger.Warn("certificates of browsers made anew", "err", err)
	}
	if err := s.readEarlier(); err != nil {
		s.c.Logger.Warn("certificate of an earlier version not used", "err", err)
	}
}

func (s *Certificates) readProgram() error {
	path := filepath.Join(s.c.Dir, CertificateFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return fmt.Errorf("%s: no certificate in it", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if OfKey(c) != s.pin {
		return fmt.Errorf("%s: of another key", path)
	}
	s.program = &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: s.key, Leaf: c}
	return nil
}

func (s *Certificates) readBrowser() error {
	path := filepath.Join(s.c.Dir, BrowserFile)
	b, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list []*tls.Certificate
	for {
		cert, rest := pem.Decode(b)
		key, rest := pem.Decode(rest)
		if cert == nil || key == nil {
			break
		}
		b = rest
		c, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key))
		if err != nil || s.program.Leaf.CheckSignature(c.Leaf.SignatureAlgorithm, c.Leaf.RawTBSCertificate, c.Leaf.Signature) != nil {
			continue
		}
		c.Certificate = append(c.Certificate, s.program.Leaf.Raw)
		list = append(list, &c)
	}
	if len(list) == 0 {
		return fmt.Errorf("%s: no certificate of this key in it", path)
	}
	s.browser = list[:min(len(list), 2)]
	return nil
}

// readEarlier reads the certificate of an earlier version, which clients may pin while it lasts; then its file is removed.
func (s *Certificates) readEarlier() error {
	path := filepath.Join(s.c.Dir, earlierFile)
	b, err := readPrivate(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	c, err := tls.X509KeyPair(b, b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if s.c.Now().After(c.Leaf.NotAfter) {
		return os.Remove(path)
	}
	s.earlier, err = s.vouched(c)
	return err
}

func certificatePEM(c *tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw})
}
