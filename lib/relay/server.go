package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
)

// ServerConfig is everything ec-relay is told.
type ServerConfig struct {
	Listen []string // addresses as moqt.Listen takes them, host:port of UDP or unix, tcp, ws, wss
	Dir    string   // the store's folder; the certificate made here lies in it too
	// Cert and Key are PEM files; both empty: a certificate is made in Dir and renewed in time.
	Cert, Key string
	// AllowOrigins are the origins of pages that may connect over WebTransport, as moqt.Config.AllowOrigins.
	AllowOrigins []string
	// QLogDir is where sessions are logged, as moqt.Config.QLogDir. Default: nowhere.
	QLogDir string
	// Lenient serves peers that break rules without harm to others, as moqt.Config.Lenient and Config.Lenient of this package.
	Lenient bool
	// Versions are the drafts to speak. Default: as moqt.Config has it.
	Versions []moqt.Version
	Store    store.Config
	Relay    Config // Store is filled in
	Logger   *slog.Logger

	// Ready, if not nil, is called once all listeners listen.
	Ready func(addrs []net.Addr, fingerprint string)
	// Counters, if not nil, asks for the counters to be logged.
	Counters <-chan os.Signal
}

// Files in Dir besides those of the store.
const (
	CertificateFile = "cert.pem"
	FingerprintFile = "fingerprint"
)

// codedError gives an error an exit code and a hint (contract of every command).
type codedError struct {
	error
	code int
	hint string
}

func (e *codedError) Unwrap() error { return e.error }
func (e *codedError) ExitCode() int { return e.code }
func (e *codedError) Hint() string  { return e.hint }

// Run runs a relay until ctx ends: then it tells its peers to go away, finishes the groups that are whole
// and returns nil.
func Run(ctx context.Context, c ServerConfig) (err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Store.Logger, c.Relay.Logger = c.Logger, c.Logger
	st, err := store.Open(c.Dir, c.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	cert, err := newCertificate(c)
	if err != nil {
		return err
	}
	key, err := resetKey(c.Dir)
	if err != nil {
		return err
	}
	tally := new(moqt.Tally)
	sessions := moqt.Config{Lenient: c.Lenient, QLogDir: c.QLogDir, Logger: c.Logger, Versions: c.Versions, Tally: tally}
	conf := sessions
	conf.AllowOrigins, conf.ResetKey = c.AllowOrigins, key
	listeners, addrs, err := listen(c.Listen, cert.tls(), &conf)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	c.Relay.Lenient = c.Lenient
	c.Relay.Upstreams = slices.Clone(c.Relay.Upstreams)
	for i := range c.Relay.Upstreams {
		c.Relay.Upstreams[i].Session = sessions
	}
	c.Relay.Store = st
	r := New(c.Relay)
	r.tally = tally
	if err := st.Flush(); err != nil { // whole groups that a crash left under their partial names
		return err
	}
	if c.Ready != nil {
		c.Ready(addrs, cert.fingerprint())
	}
	sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { st.Run(sctx) }) // also while sessions leave
	defer background.Wait()
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.Serve(gctx, listeners...) })
	g.Go(func() error { r.watch(gctx, c.Counters); return nil })
	g.Go(func() error { cert.renew(gctx); return nil })
	return g.Wait()
}

// watch logs the counters when asked, and every minute at debug level.
func (r *Relay) watch(ctx context.Context, asked <-chan os.Signal) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.LogStats(slog.LevelInfo)
			return
		case <-asked:
			r.LogStats(slog.LevelInfo)
		case <-tick.C:
			r.LogStats(slog.LevelDebug)
		}
	}
}

func listen(addrs []string, tlsConf *tls.Config, conf *moqt.Config) (listeners []moqt.SessionListener, bound []net.Addr, err error) {
	for _, a := range addrs {
		l, err := moqt.Listen(a, tlsConf, conf)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			err = fmt.Errorf("listen on %s: %w", a, err)
			switch {
			case errors.Is(err, syscall.EADDRINUSE):
				err = &codedError{err, 75, "another program, perhaps another ec-relay, listens there"}
			case errors.Is(err, syscall.EACCES):
				err = &codedError{err, 77, "ports below 1024, and sockets in folders of others, take privileges"}
			default:
				err = &codedError{err, 78, "an address reads HOST:PORT, for example [::1]:4443, unix:///PATH, tcp://HOST:PORT, ws://HOST:PORT or wss://HOST:PORT"}
			}
			return nil, nil, err
		}
		listeners, bound = append(listeners, l), append(bound, l.Addr())
	}
	return listeners, bound, nil
}

// certificate is what the listeners show; a generated one is replaced before it expires.
type certificate struct {
	c    ServerConfig
	cert atomic.Pointer[tls.Certificate]
}

func newCertificate(c ServerConfig) (*certificate, error) {
	s := &certificate{c: c}
	return s, s.load(time.Now())
}

// load reads or makes the certificate and writes its fingerprint down.
func (s *certificate) load(now time.Time) error {
	cert, err := s.read(now)
	if err != nil {
		return &codedError{fmt.Errorf("certificate: %w", err), 78, ""}
	}
	s.cert.Store(&cert)
	path := filepath.Join(s.c.Dir, FingerprintFile)
	if err := writeFile(path, moqt.Fingerprint(cert)+"\n"); err != nil {
		return &codedError{fmt.Errorf("fingerprint: %w", err), 74, ""}
	}
	return nil
}

func (s *certificate) read(now time.Time) (tls.Certificate, error) {
	if s.c.Cert != "" {
		return tls.LoadX509KeyPair(s.c.Cert, s.c.Key)
	}
	name, _ := os.Hostname()
	return moqt.LoadCertificate(filepath.Join(s.c.Dir, CertificateFile), now, "localhost", name, "127.0.0.1", "::1")
}

func (s *certificate) fingerprint() string { return moqt.Fingerprint(*s.cert.Load()) }

func (s *certificate) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.cert.Load(), nil
	}}
}

// renew looks at the certificate every hour: a file may have been replaced, a generated one runs out.
func (s *certificate) renew(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			old := s.fingerprint()
			if err := s.load(now); err != nil {
				s.c.Logger.Error("certificate not renewed", "err", err)
			} else if s.fingerprint() != old {
				s.c.Logger.Warn("new certificate: clients that pin its fingerprint need the new one", "fingerprint", s.fingerprint())
			}
		}
	}
}

// writeFile replaces a small file whole.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Fingerprint returns the fingerprint of the certificate a relay with this configuration shows, making
// the certificate if there is none.
func Fingerprint(c ServerConfig) (string, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	cert, err := newCertificate(c)
	if err != nil {
		return "", err
	}
	return cert.fingerprint(), nil
}
