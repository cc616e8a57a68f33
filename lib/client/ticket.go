package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// process returns the bytes by which this process is known to relays whose tickets it holds.
var process = sync.OnceValue(func() (who [16]byte) {
	rand.Read(who[:])
	return who
})

// Name returns how a relay is called in logs and errors: by its address, or for a ticket by nothing that is secret.
func Name(relay string) string {
	if !ticket.Is(relay) {
		if address, query, _ := strings.Cut(relay, "?"); query != "" && !strings.HasPrefix(relay, "unix:") { // which may have a token
			return address + "?…"
		}
		return relay
	}
	t, err := ticket.Parse(relay)
	if err != nil {
		return "a ticket"
	}
	return t.Name()
}

// joining dials by a ticket.
type joining struct {
	t *ticket.Ticket
	c Config
}

// byTicket makes of a Config whose Relay is a ticket one that dials by it.
func byTicket(c Config) (Config, error) {
	t, err := ticket.Parse(c.Relay)
	if err != nil {
		return c, err
	}
	for _, a := range t.Addresses {
		if err := CheckURL(a); err != nil {
			return c, err
		}
	}
	j := &joining{t: t, c: c}
	c.Relay, c.Dial = t.Name(), j.dial
	return c, nil
}

// dial dials the relay of the ticket, or, where that sends us, another, which is shown no secret.
func (j *joining) dial(ctx context.Context, address string, tlsConf *tls.Config, conf *moqt.Config) (*moqt.Session, error) {
	if address != j.t.Name() {
		return j.c.Dial(ctx, address, tlsConf, conf)
	}
	if err := j.t.Expired(time.Now()); err != nil {
		return nil, &useless{err, exit.NotAllowed, newTicket}
	}
	c := *conf
	if len(j.t.Secret) > 0 {
		who := j.c.Holder
		if who == ([16]byte{}) {
			who = process()
		}
		c.Tokens = append(c.Tokens[:len(c.Tokens):len(c.Tokens)], moqt.Token{AliasType: wire.TokenUseValue, Type: ticket.TokenType, Value: j.t.Token(who)})
	}
	var errs []error
	for _, way := range j.ways() {
		sess, err := way(ctx, j.pinned(tlsConf), &c)
		if err == nil {
			return sess, nil
		}
		if refused, ok := errors.AsType[*moqt.SessionError](err); ok && refused.Remote {
			return nil, err // by the relay itself
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// Secret reports whether nobody listens on the way to an address: there a secret may be sent.
func Secret(address string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(address), ":")
	return scheme != "tcp" && scheme != "ws"
}

type way = func(ctx context.Context, tlsConf *tls.Config, c *moqt.Config) (*moqt.Session, error)

// ways returns the ways to the relay, the best first.
func (j *joining) ways() (list []way) {
	if j.t.HasIroh() && j.c.Iroh != nil {
		list = append(list, func(ctx context.Context, _ *tls.Config, c *moqt.Config) (*moqt.Session, error) {
			return j.c.Iroh(ctx, j.t, c)
		})
	}
	for _, address := range j.t.Addresses {
		list = append(list, func(ctx context.Context, tlsConf *tls.Config, c *moqt.Config) (*moqt.Session, error) {
			if len(j.t.Secret) > 0 && !Secret(address) {
				return nil, fmt.Errorf("%s is not encrypted: a secret is not sent there", address)
			}
			return j.c.Dial(ctx, address, tlsConf, c)
		})
	}
	if len(list) == 0 {
		list = append(list, func(context.Context, *tls.Config, *moqt.Config) (*moqt.Session, error) {
			return nil, &useless{errors.New("the ticket has no address but that of iroh"), exit.Unreachable, noIroh}
		})
	}
	return list
}

// useless is a ticket that leads nowhere.
type useless struct {
	error
	code int
	hint string
}

func (u *useless) Unwrap() error { return u.error }
func (u *useless) ExitCode() int { return u.code }
func (u *useless) Hint() string  { return u.hint }

const (
	newTicket = "ask for a new one: ec-relay ticket"
	noIroh    = "ec-iroh is not on this machine; docs/mesh.md says how to get it"
)

// pinned trusts the key that the ticket names, and no other.
func (j *joining) pinned(conf *tls.Config) *tls.Config {
	if j.t.Pin == ([32]byte{}) {
		return conf
	}
	p := &tls.Config{}
	if conf != nil {
		p = conf.Clone()
	}
	p.MinVersion = tls.VersionTLS13
	p.InsecureSkipVerify = true // replaced by VerifyConnection
	p.VerifyConnection = func(st tls.ConnectionState) error {
		if err := keys.Verify(st.PeerCertificates, time.Now(), keys.Pin(j.t.Pin)); err != nil {
			return fmt.Errorf("the ticket is of another relay: %w", err)
		}
		return nil
	}
	return p
}
