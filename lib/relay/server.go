package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// ServerConfig is the whole configuration of ec-relay.
type ServerConfig struct {
	Listen []string // addresses as moqt.Listen takes them, host:port of UDP or unix, tcp, ws, wss
	Dir    string   // the store's folder; the relay's key and what is made of the key lie in it too
	// Cert and Key are PEM files of the certificate that the relay shows. If both are empty, it shows the certificates that it
	// makes itself in Dir (package keys).
	Cert, Key string
	// HTTP are the addresses of the HTTP server (package gateway): host:port, http://host:port or https://host:port, the last
	// with the certificate of the listeners. Default: none.
	HTTP []string
	// Page are the files of the page; needed with HTTP.
	Page fs.FS
	// Name is the relay's name for people. Default: none.
	Name string
	// AllowOrigins are the origins of pages that may connect over WebTransport, as moqt.Config.AllowOrigins.
	AllowOrigins []string
	// QLogDir is the folder for the logs of sessions, as moqt.Config.QLogDir. Default: none.
	QLogDir string
	// Lenient serves peers that break rules without harm to others, as moqt.Config.Lenient and Config.Lenient of this package do.
	Lenient bool
	// Versions are the drafts to speak. Default: as moqt.Config has it.
	Versions []moqt.Version
	// NoRepair is as in moqt.Config, for sessions of both kinds. Default: what a path loses is made good.
	NoRepair bool
	// Open lets everybody publish who reaches the relay. Default: only the tools of its own user on this machine, listed peers, and those who
	// show a ticket or a token.
	Open bool
	// Private lets only those read who may publish, or show a token for reading. Default: everybody may read.
	Private bool
	// PrivateBelow, Allow and Deny are as in auth.Policy.
	PrivateBelow []object.Namespace
	Allow, Deny  auth.List
	// TokenKeys are files with the public keys of others that may sign tokens. Default: the relay's own key alone signs.
	TokenKeys []string
	// TokenTypes are further numbers by which tokens come, as auth.Authority has it.
	TokenTypes []uint64
	// TokenAudiences are names by which tokens mean this relay, besides its fingerprint. Default: none.
	TokenAudiences []string
	// Limits are the bounds of what each peer may use up. Default: those of package limits, and Relay.MaxSessions.
	Limits limits.Table
	Store  store.Config
	Relay  Config // Store, Gate, Rights and Limits are filled in
	// PeerIDs are the keys of relays that may be peers; with Iroh these relays are dialed, too.
	PeerIDs []mesh.ID
	// PeerAddrs are the addresses at which iroh may find these relays.
	PeerAddrs map[mesh.ID][]string
	// Iroh, if not nil, lets the relay dial others over iroh, and with Iroh.Accept lets others dial it. Key and Log are filled
	// in.
	Iroh    *iroh.Config
	Logger  *slog.Logger
	Version string // of the program, for the operator
	Verbose bool   // details are logged, too
	// Level, if not nil, is that of Logger, and follows Verbose when the configuration is read again.
	Level *slog.LevelVar
	// Reread, if not nil, reads the configuration again, for the command reload and for what Hangup gives. Reloading is told when that begins
	// and when it is over, if it is not nil.
	Reread    func() (Anew, error)
	Hangup    <-chan os.Signal
	Reloading func(bool)

	now func() time.Time // for certificates, nil: time.Now

	// Ready, if not nil, is called once all listeners listen.
	Ready func(Started)
	// Alive, if not nil, is called about every AliveEvery as long as the relay's state can be looked at: for a watchdog.
	Alive      func()
	AliveEvery time.Duration
	// Counters, if not nil, asks for the counters to be logged.
	Counters <-chan os.Signal
}

// Started says how a relay that now takes sessions can be reached.
type Started struct {
	Listen      []net.Addr
	HTTP        []string // URLs of the page
	Fingerprint string   // of the relay's key
}

// FingerprintFile in Dir holds the fingerprint of the relay's key (docs/format/keys.md).
const FingerprintFile = "fingerprint"

// withKey makes a client show the certificate of the relay's key to servers that ask for one.
func withKey(conf *tls.Config, certs *keys.Certificates) *tls.Config {
	if conf = conf.Clone(); conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS13}
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certs.Identity(), nil
	}
	return conf
}

// beat tells that the relay is alive until ctx ends. Whoever holds a lock for good stops it.
func (r *Relay) beat(ctx context.Context, every time.Duration, alive func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		r.Stats()
		r.store.Stats()
		alive()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watch logs the counters when it is asked to, and every minute at debug level.
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

// listenForm and httpForm say how the addresses of ServerConfig are written.
const (
	listenForm = "an address reads HOST:PORT, for example [::1]:4443, unix:///PATH, tcp://HOST:PORT, ws://HOST:PORT or wss://HOST:PORT"
	httpForm   = "an address reads HOST:PORT, http://HOST:PORT or https://HOST:PORT"
)

func listen(addrs []string, tlsConf *tls.Config, conf *moqt.Config) (listeners []moqt.SessionListener, bound []net.Addr, err error) {
	for _, a := range addrs {
		l, err := moqt.Listen(a, tlsConf, conf)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, nil, listenError(a, err, listenForm)
		}
		listeners, bound = append(listeners, l), append(bound, l.Addr())
	}
	return listeners, bound, nil
}

// listenError adds to an error of listening the address, and a hint on how addresses are written.
func listenError(addr string, err error, form string) error {
	err = fmt.Errorf("listen on %s: %w", addr, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return exit.With(exit.Busy, err, "another program, perhaps another ec-relay, listens there; a second relay needs ports of its own (--listen, --http)")
	case errors.Is(err, syscall.EACCES):
		return exit.With(exit.NotAllowed, err, "ports below 1024, and sockets in folders of others, take privileges")
	case cannotWrite(err):
		return exit.With(exit.IO, err, "")
	}
	return exit.With(exit.Config, err, form)
}

// openKeys reads or makes the relay's key and certificates, and writes the fingerprint down.
func openKeys(c ServerConfig) (*keys.Certificates, error) {
	certs, err := keys.Open(keys.Config{Dir: c.Dir, Cert: c.Cert, Key: c.Key, Now: c.now, Logger: c.Logger})
	if err != nil {
		return nil, keyError(err)
	}
	writeFingerprint(c, certs.Pin())
	return certs, nil
}

// keyError explains why a relay whose key cannot be made or read does not start.
func keyError(err error) error {
	if cannotWrite(err) {
		return exit.With(exit.IO, fmt.Errorf("key: %w", err), "without a key that stays there is no relay; other files are done without")
	}
	if exit.Hint(err) != "" {
		return exit.With(exit.Config, fmt.Errorf("key: %w", err), "")
	}
	return exit.With(exit.Config, fmt.Errorf("key and certificate: %w", err), "")
}

// cannotWrite reports whether an error means that the disk takes no more.
func cannotWrite(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO}, func(e error) bool { return errors.Is(err, e) })
}

// writeFingerprint writes the fingerprint to a file for scripts. If that fails, the relay runs all the same.
func writeFingerprint(c ServerConfig, pin keys.Pin) {
	path, text := filepath.Join(c.Dir, FingerprintFile), pin.String()+"\n"
	if b, err := os.ReadFile(path); err == nil && string(b) == text {
		return
	}
	if err := writeFile(path, []byte(text), 0o644); err != nil && c.Logger != nil {
		c.Logger.Warn("fingerprint not written down", "err", err)
	}
}

// writeFile replaces a small file, so that readers see either the old content or the new one.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// passing matches the names of temporary files in the folder, which a relay that is killed leaves behind.
var passing = regexp.MustCompile(`^\.(tmp|tickets|tokens|takedowns|admin)-[0-9]+$`)

// passingAge is how old a temporary file must be to be removed: a younger one may belong to a process that is about to finish it,
// such as one that only prints the fingerprint.
const passingAge = time.Minute

// lookAfter removes the temporary files of killed relays, and warns if other users may write in the folder, because they could
// replace the key.
func lookAfter(dir string, now time.Time, log *slog.Logger) {
	if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o022 != 0 {
		log.Warn("others may write in the store's folder, and so be this relay", "dir", dir, "mode", st.Mode().Perm())
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		log.Warn("folder not looked after", "err", err)
	}
	for _, e := range list {
		if st, err := e.Info(); err != nil || !passing.MatchString(e.Name()) || now.Sub(st.ModTime()) < passingAge {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			log.Warn("left by a relay that was killed, and not removed", "err", err)
		}
	}
}

// Fingerprint returns the fingerprint of the key of a relay with this configuration, making the key if there is none.
func Fingerprint(c ServerConfig) (string, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	key, err := keys.LoadKey(c.Dir)
	if err != nil {
		return "", keyError(err)
	}
	pin := keys.OfPrivateKey(key)
	writeFingerprint(c, pin)
	return pin.String(), nil
}
