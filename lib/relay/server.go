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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/admin"
	keep "every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/iroh"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/ticket"
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
	Store    store.Config
	Relay    Config // Store and Gate are filled in
	// PeerIDs are the keys of relays that may be peers; with Iroh these relays are dialed, too.
	PeerIDs []mesh.ID
	// PeerAddrs are the addresses at which iroh may find these relays.
	PeerAddrs map[mesh.ID][]string
	// Iroh, if not nil, lets the relay dial others over iroh, and with Iroh.Accept lets others dial it. Key and Log are filled
	// in.
	Iroh    *iroh.Config
	Logger  *slog.Logger
	Version string // of the program, for the operator

	now func() time.Time // for certificates, nil: time.Now

	// Ready, if not nil, is called once all listeners listen.
	Ready func(Started)
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

// Run runs a relay until ctx ends: then it tells its peers to go away, finishes the groups that are whole
// and returns nil.
func Run(ctx context.Context, c ServerConfig) (err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Store.Logger, c.Relay.Logger = c.Logger, c.Logger
	if err := Check(c); err != nil { // first, so that a relay that cannot start leaves nothing behind
		return err
	}
	st, err := store.Open(c.Dir, c.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	lookAfter(c.Dir, time.Now(), c.Logger)
	certs, err := openKeys(c)
	if err != nil {
		return err
	}
	key := resetKey(c.Dir, c.Logger)
	tally := new(moqt.Tally)
	sessions := moqt.Config{Lenient: c.Lenient, QLogDir: c.QLogDir, Logger: c.Logger, Versions: c.Versions, Tally: tally}
	gate := &mesh.Gate{Tickets: mesh.NewTickets(c.Dir), Peers: c.PeerIDs, Log: c.Logger}
	c.Relay.Gate = gate
	conf := sessions
	conf.Hosts = certs.Bear
	conf.AllowOrigins, conf.ResetKey, conf.Authorize = c.AllowOrigins, key, gate.Admit
	// A relay that this relay dials may have dialed this one, too. The certificate that it shows tells that both connections are
	// with the same relay.
	conf.AskCertificate = len(c.PeerIDs) > 0 || slices.ContainsFunc(c.Relay.Upstreams, func(u Upstream) bool { return u.Peer })
	listeners, addrs, err := listen(c.Listen, certs.TLS(), &conf)
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
	var node *iroh.Node
	var dialIroh keep.DialIroh
	if c.Iroh != nil {
		ic := *c.Iroh
		ic.Key, ic.Log = filepath.Join(c.Dir, keys.KeyFile), c.Logger
		if node, err = iroh.New(ic); err != nil {
			return err
		}
		defer node.Close()
		dialIroh = keep.OverIroh(node)
		if ic.Accept {
			listeners = append(listeners, moqt.ListenOn(node.Listener(), "iroh", &conf))
		}
		for _, id := range c.PeerIDs {
			byID := ticket.Ticket{Iroh: id, IrohAddrs: c.PeerAddrs[id]}
			c.Relay.Upstreams = append(c.Relay.Upstreams, Upstream{Relay: byID.String(), Peer: true})
		}
	}
	for i := range c.Relay.Upstreams {
		u := &c.Relay.Upstreams[i]
		u.Session, u.Iroh = sessions, dialIroh
		if u.Peer { // shows the peer which relay this is
			u.TLS, u.Holder = withKey(u.TLS, certs), mesh.Holder(certs.PrivateKey())
		}
	}
	c.Relay.Store = st
	r := New(c.Relay)
	r.tally = tally
	page, err := r.listenHTTP(c, certs, addrs, &conf)
	if err != nil {
		return err
	}
	started := Started{Listen: addrs, Fingerprint: certs.Pin().String()}
	if page != nil {
		defer page.close()
		started.HTTP = page.urls
		listeners = append(listeners, Readers{page.moq})
	}
	door := &admin.Server{Logger: c.Logger}
	r.handleAdmin(door, c, certs, started, gate.Tickets)
	reached := node
	if node != nil && !c.Iroh.Accept {
		reached = nil
	}
	r.handleTickets(door, gate.Tickets, certs, addrs, reached)
	door.Handle("relays", r.relaysCommand(node))
	if err := st.Flush(); err != nil { // a crash may have left whole groups under their partial names; they get their final names
		c.Logger.Error("whole groups kept under their partial names", "err", err)
	}
	socket, err := admin.Listen(filepath.Join(c.Dir, admin.SocketFile))
	if err != nil { // perhaps the file system has no sockets
		c.Logger.Warn("no door for the operator", "err", err)
	}
	if c.Ready != nil {
		c.Ready(started)
	}
	sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { st.Run(sctx) }) // it also runs while sessions leave
	if node != nil {
		background.Go(func() { node.Run(sctx) })
	}
	defer background.Wait()
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	pctx, leave := context.WithCancel(context.WithoutCancel(ctx)) // the page stays while sessions leave
	defer leave()
	g.Go(func() error {
		defer leave()
		return r.Serve(gctx, listeners...)
	})
	if page != nil {
		context.AfterFunc(gctx, page.Leave)
		g.Go(func() error { return page.serve(pctx) })
	}
	g.Go(func() error { r.watch(gctx, c.Counters); return nil })
	if socket != nil {
		g.Go(func() error { return door.Serve(gctx, socket) })
	}
	g.Go(func() error { certs.Run(gctx); return nil })
	return g.Wait()
}

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
		return exit.With(exit.Busy, err, "another program, perhaps another ec-relay, listens there")
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
var passing = regexp.MustCompile(`^\.(tmp|tickets|admin)-[0-9]+$`)

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
