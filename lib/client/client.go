// Package client keeps a session with a relay: it dials, tries again with growing pauses, hands each session to
// a piece of work, and tells what a failure means for the command that runs it.
//
// A relay's address and work flow in; sessions flow to the work; an error with an exit code and a hint flows
// out. The transport is package moqt, draft-ietf-moq-transport-16 and -18.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/ticket"
)

// Config says which relay, and how long to try.
type Config struct {
	// Relay is an address as moqt.Dial takes it, such as moqt://host:port or unix:///path, or a ticket.
	Relay string
	// Holder are the bytes by which relays recognize the holder of a ticket. Default: random bytes, the same for the whole
	// process.
	Holder [16]byte
	// Iroh dials the relay of a ticket over iroh. Default: tickets are used over their addresses.
	Iroh func(ctx context.Context, t *ticket.Ticket, conf *moqt.Config) (*moqt.Session, error)
	// Token is shown to the relay. Default: none is; a ticket is shown without.
	Token *Token
	// TLS says whom to trust; nil is the system's certificates.
	TLS *tls.Config
	// Session holds what the session needs, such as a handler. Its HandshakeTimeout and IdleTimeout are 5 s if they
	// are 0, and its KeepAlive 1.5 s: over UDP a relay that is not there says nothing, and what was sent to it in the
	// meantime must still be in a spool.
	Session moqt.Config
	// RetryStart is how long to try a relay that was never reached. Default 0: the first failure is the end.
	RetryStart time.Duration
	// RetryLost is how long to try a relay that was reached before. Default 10 min; negative: not at all.
	RetryLost time.Duration
	// Dial replaces moqt.Dial, in tests.
	Dial func(ctx context.Context, url string, tlsConf *tls.Config, conf *moqt.Config) (*moqt.Session, error)
	// Log gets losses and retries. Default: none.
	Log *slog.Logger
}

const (
	defaultRetryLost = 10 * time.Minute
	// showsWithin is how soon after its streams a session shows that it is lost.
	showsWithin = time.Second
	// ForEver is how long a relay is tried that is never given up.
	ForEver      = time.Duration(math.MaxInt64)
	silence      = 5 * time.Second
	keepAlive    = 1500 * time.Millisecond
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	settled      = 3 * time.Second // a session that lasted this long makes the next pause short again
)

// ErrAgain, wrapped in an error of the work, asks for another session although this one may be fine.
var ErrAgain = errors.New("try again")

// Error is a relay that failed for good.
type Error struct {
	Relay string
	Err   error
	code  int
	hint  string
}

func (e *Error) Error() string { return e.Relay + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is 69 unreachable, 75 busy, 76 protocol, 77 refused or 64 for a bad address.
func (e *Error) ExitCode() int { return e.code }

// Hint returns advice on the error, or that of its cause.
func (e *Error) Hint() string { return e.hint }

// CheckURL reports an address that cannot be dialed, or a ticket that is none.
func CheckURL(relay string) error {
	if ticket.Is(relay) {
		_, err := ticket.Parse(relay)
		return err
	}
	if err := moqt.CheckAddress(relay); err != nil {
		return &Error{fmt.Sprintf("relay %q", relay), err, exit.Usage, "an address reads moqt://relay:4443, a ticket is one line that begins with ec"}
	}
	return nil
}

// mayMove says whether a relay may send its clients to another address. It may not make them give up encryption and the check
// of a certificate, or open sockets on their own host, if its own address is not of that kind.
func mayMove(from, to string) bool {
	if moqt.CheckAddress(to) != nil {
		return false
	}
	was, _, _ := strings.Cut(strings.ToLower(from), ":")
	is, _, _ := strings.Cut(strings.ToLower(to), ":")
	return is == was || is == "moqt" || is == "https" || is == "wss"
}

// Run calls work with a session, and again with a new one when that was lost, until work returns nil or an error
// of its own. The context of work ends with the session; Run waits for work.
func Run(ctx context.Context, c Config, work func(ctx context.Context, sess *Session) error) error {
	if err := CheckURL(c.Relay); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.RetryLost = settings.Or(c.RetryLost, defaultRetryLost)
	if c.Dial == nil {
		c.Dial = moqt.Dial
	}
	switch {
	case ticket.Is(c.Relay):
		var err error
		if c, err = byTicket(c); err != nil {
			return err
		}
	case c.Token != nil:
		c = showing(c)
	}
	c.Session.HandshakeTimeout = cmp.Or(c.Session.HandshakeTimeout, silence)
	c.Session.IdleTimeout = cmp.Or(c.Session.IdleTimeout, silence)
	c.Session.KeepAlive = cmp.Or(c.Session.KeepAlive, keepAlive)
	log := c.Log.With("relay", c.Relay)
	limit, since := c.RetryStart, time.Now()
	pause, relay := firstPause, c.Relay
	for {
		began := time.Now()
		connected, moved, err := once(ctx, c, relay, work)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if connected && !errors.Is(err, ErrAgain) {
			limit, since = c.RetryLost, time.Now()
		}
		if final := permanent(c.Relay, err, connected); final != nil {
			return final
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		if relay = c.Relay; moved != "" && mayMove(c.Relay, moved) {
			relay = moved
		}
		wait := pause + rand.N(pause/2)
		if time.Since(since)+wait > limit {
			return unreachable(c.Relay, err, connected)
		}
		if errors.Is(err, ErrAgain) {
			log.Warn("trying again", "err", err, "pause", wait.Round(time.Millisecond))
		} else if connected {
			log.Warn("relay lost, trying again", "err", err, "pause", wait.Round(time.Millisecond))
		} else {
			log.Warn("relay not reached, trying again", "err", err, "pause", wait.Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		pause = min(2*pause, longestPause)
	}
}

// lostError is a session that ended before the work was done.
type lostError struct{ err error }

func (e lostError) Error() string { return e.err.Error() }
func (e lostError) Unwrap() error { return e.err }

// once dials and runs work on the session. moved is where a GOAWAY sends us, or, when the relay was lost, where it had sent
// requests before.
func once(ctx context.Context, c Config, relay string, work func(context.Context, *Session) error) (connected bool, moved string, _ error) {
	sess, err := c.Dial(ctx, relay, c.TLS, &c.Session)
	if err != nil {
		return false, "", err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		peer, err := sess.Peer(gctx)
		if err == nil {
			c.Log.Info("connected", "relay", relay, "over", sess.Transport(), "draft", sess.Version(), "implementation", peer.Implementation)
		}
		return nil // Run reports the error
	})
	g.Go(func() error {
		err := sess.Run(gctx)
		if err == nil {
			err = io.EOF
		}
		return lostError{err}
	})
	g.Go(func() error {
		select {
		case <-sess.GoingAway():
			moved = sess.GoAwayURI()
			return lostError{moqt.ErrGoingAway}
		case <-gctx.Done():
			return nil
		}
	})
	var done, own bool
	var result error
	away := newPlaces(gctx, c, relay, sess)
	g.Go(func() error {
		result = work(gctx, &Session{sess, relay, away})
		done = result == nil
		own = !done && !errors.Is(result, moqt.ErrGoingAway) && isOwn(gctx, sess, result)
		sess.Close(wire.NoError, "")
		return context.Canceled // ends the others
	})
	err = g.Wait()
	away.runs.Wait()
	switch {
	case done:
		return true, moved, nil
	case own:
		return true, moved, result
	}
	// The session knows better than what was going on in it why it ended.
	if why, ok := errors.AsType[*moqt.SessionError](context.Cause(sess.Context())); ok && why.Code != wire.NoError {
		err = why
	}
	if _, lost := errors.AsType[lostError](err); !lost {
		err = lostError{err}
	}
	return true, cmp.Or(moved, away.last), err
}

// isOwn reports whether an error with which work ended is its own. A session that is lost shows at its streams first, in words of whatever
// carries it; so an error that nobody has given a meaning is the work's own only if the session is there a moment later.
func isOwn(ctx context.Context, sess *moqt.Session, err error) bool {
	if ctx.Err() != nil || sess.Context().Err() != nil {
		return false
	}
	_, isCoder := exit.Of(err)
	_, refused := errors.AsType[*moqt.RequestError](err)
	_, file := errors.AsType[*fs.PathError](err)
	if isCoder || refused || file {
		return true
	}
	select {
	case <-sess.Context().Done():
	case <-ctx.Done():
	case <-time.After(showsWithin):
		return true
	}
	return false
}

// permanent returns the final error if trying again cannot help.
func permanent(relay string, err error, connected bool) error {
	code, isCoder := exit.Of(err)
	if _, lost := errors.AsType[lostError](err); connected && !lost && isCoder && !errors.Is(err, ErrAgain) {
		return err // the work's own
	}
	if s, ok := errors.AsType[*moqt.SessionError](err); ok {
		switch s.Code {
		case wire.NoError, wire.InternalError, wire.GoAwayTimeout, wire.ControlMessageTimeout, wire.DataStreamTimeout:
			return nil
		case wire.Unauthorized, wire.MalformedAuthToken, wire.ExpiredAuthToken, wire.UnknownAuthTokenAlias:
			return &Error{relay, err, exit.NotAllowed, "the relay wants a ticket or a token that is good: ec-relay ticket and ec-relay token make make them there. A ticket with --uses N lets N programs in, and each start of ec-pub or ec-sub is another"}
		case wire.InvalidPath, wire.MalformedPath:
			return &Error{relay, err, exit.Protocol, "the relay knows no such path; is the end of its address right?"}
		default:
			return &Error{relay, err, exit.Protocol, "is it a relay for MoQ Transport? Of that " + spoken() + " are spoken here"}
		}
	}
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && !errors.Is(err, ErrAgain) {
		switch r.Code {
		case wire.RequestUnauthorized, wire.RequestMalformedAuthToken, wire.RequestExpiredAuthToken:
			return &Error{relay, err, exit.NotAllowed, "the relay lets those do this who show a token (ec-relay token make there, then --token here) or a ticket (ec-relay ticket), and tools of its own user on its own machine; nobody, if its operator took it down or denies it"}
		case wire.RequestInternalError, wire.RequestTimeout, wire.RequestGoingAway, wire.RequestExcessiveLoad:
			return nil
		case wire.RequestRedirect: // without a place to go to, or in answer to what cannot be sent elsewhere
			return &Error{relay, err, exit.Unreachable, ""}
		}
		return &Error{relay, err, exit.Protocol, ""}
	}
	if errors.Is(err, ErrAgain) {
		return nil
	}
	if isCoder && code == exit.NotAllowed { // a certificate that is not trusted
		return &Error{relay, err, exit.NotAllowed, exit.Hint(err)}
	}
	if errors.Is(err, moqt.ErrFingerprint) {
		return &Error{relay, err, exit.NotAllowed, ""}
	}
	for _, target := range []any{new(x509.UnknownAuthorityError), new(x509.HostnameError), new(x509.CertificateInvalidError)} {
		if errors.As(err, target) {
			return &Error{relay, err, exit.NotAllowed, "pin the relay's certificate with --fingerprint"}
		}
	}
	if a, ok := errors.AsType[tls.AlertError](err); ok && a == 120 { // no_application_protocol, RFC 7301 §3.2
		return &Error{relay, err, exit.Protocol, "the relay speaks no draft of MoQ Transport that we do"}
	}
	if connected {
		if _, lost := errors.AsType[lostError](err); !lost {
			return err // the work's own
		}
	}
	return nil
}

func unreachable(relay string, err error, connected bool) error {
	if _, isCoder := exit.Of(err); isCoder && errors.Is(err, ErrAgain) {
		return err
	}
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestExcessiveLoad {
		return &Error{relay, err, exit.Busy, "the relay is busy; --retry TIME keeps trying"}
	}
	hint := "is ec-relay running there? --retry TIME keeps trying"
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		hint = "there is no such host"
	}
	if connected {
		hint = ""
	}
	return &Error{relay, fmt.Errorf("unreachable: %w", err), exit.Unreachable, hint}
}
