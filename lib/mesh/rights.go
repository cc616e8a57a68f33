package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// Policy is what everybody may do, and what and who is kept out.
func (g *Gate) Policy() *auth.Policy {
	if p := g.policy.Load(); p != nil {
		return p
	}
	p := &auth.Policy{Open: g.Open, Private: g.Private}
	g.policy.CompareAndSwap(nil, p)
	return g.policy.Load()
}

// SetPolicy replaces the policy, and with it Open and Private.
func (g *Gate) SetPolicy(p auth.Policy) { g.policy.Store(&p) }

// PeerOf returns what is proved of the other end of a session, besides its tokens.
func PeerOf(s *moqt.Session) (p auth.Peer) {
	switch at := s.RemoteAddr().(type) {
	case *net.UDPAddr:
		p.Addr = at.AddrPort().Addr()
	case *net.TCPAddr:
		p.Addr = at.AddrPort().Addr()
	default:
		if _, overIroh := s.Socket().(identified); overIroh {
			break
		}
		if a, err := netip.ParseAddrPort(s.RemoteAddr().String()); err == nil {
			p.Addr = a.Addr()
		} else if _, is := s.Socket().(*net.UnixConn); is {
			p.Addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	if id, ok := IDOf(s); ok {
		p.Keys = append(p.Keys, id.String())
	}
	if cert := s.PeerCertificate(); cert != nil {
		p.Keys = append(p.Keys, keys.OfKey(cert).String())
	}
	return p
}

// Grant returns what a token lets its bearer do, be it a ticket or another one; nil without an error if the token says nothing about that.
func (g *Gate) Grant(t moqt.Token, now time.Time) (*auth.Grant, error) {
	switch {
	case t.Type == ticket.TokenType:
		if slices.Contains(g.Policy().Deny.Tokens, IDOfToken(t.Value)) { // before a use of it is spent
			return nil, auth.ErrDenied
		}
		if err := g.Tickets.Redeem(t.Value, now); err != nil {
			return nil, err
		}
		all := auth.All("ticket", IDOfToken(t.Value))
		all.Expires = g.Tickets.Ends(all.ID)
		return all, nil
	case g.Authority != nil && g.Authority.Takes(t.Type):
		grant, err := g.Authority.Verify(t.Type, t.Value, now)
		if err == nil && slices.Contains(g.Policy().Deny.Tokens, grant.ID) {
			return nil, auth.ErrDenied
		}
		return grant, err
	}
	return nil, nil
}

// Check returns an error for a grant that is not good any more.
func (g *Gate) Check(grant *auth.Grant, now time.Time) error {
	switch {
	case grant.ID != "" && slices.Contains(g.Policy().Deny.Tokens, grant.ID):
		return auth.ErrDenied
	case grant.By == "ticket":
		return g.Tickets.Good(grant.ID, now)
	case g.Authority != nil:
		return g.Authority.Check(grant, now)
	}
	return nil
}

// ByKey returns what the key of a session's client lets it do, if that was proved by a certificate.
func (g *Gate) ByKey(s *moqt.Session) (list []*auth.Grant, err error) {
	cert := s.PeerCertificate()
	if cert == nil || g.Authority == nil {
		return nil, nil
	}
	all, err := g.Authority.Tokens.ByKey(keys.OfKey(cert).String())
	for _, grant := range all {
		if g.Authority.Check(grant, time.Now()) == nil {
			list = append(list, grant)
		}
	}
	return list, err
}

// Trusted returns what a session may do without a token, because its key is listed or because it is a tool of the relay's own user; or an
// error that says why it may not.
func (g *Gate) Trusted(s *moqt.Session) (*auth.Grant, error) {
	if id, ok := IDOf(s); ok && slices.Contains(g.Peers, id) {
		return auth.All("key", id.String()), nil
	}
	tool := g.Tool
	switch {
	case tool == nil && g.Policy().Private:
		tool = Reader
	case tool == nil:
		tool = Tool
	}
	if err := tool(s); err != nil {
		return nil, err
	}
	return auth.All("user", ""), nil
}

// Shown returns the tokens that a client showed in its setup, in the URL that it dialed, and in the header of its HTTP request.
func Shown(peer moqt.PeerInfo) ([]moqt.Token, error) {
	list := slices.Clone(peer.Tokens)
	_, query, _ := strings.Cut(peer.Path, "?")
	for _, text := range []string{InQuery(query), peer.Bearer} {
		if text == "" {
			continue
		}
		t, err := FromText(text)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// FromText makes a token of its text, as it stands in URLs and headers.
func FromText(text string) (moqt.Token, error) {
	value, kind, err := auth.Parse(text)
	return moqt.Token{AliasType: wire.TokenUseValue, Type: kind, Value: value}, err
}

// InQuery is the token in the query of a URL; empty: there is none.
func InQuery(query string) string {
	values, _ := url.ParseQuery(query)
	return values.Get("token")
}

// WithoutToken is a path and query without the token, which is a secret, for people to see.
func WithoutToken(path string) string {
	path, query, has := strings.Cut(path, "?")
	if !has || !strings.Contains(query, "token") {
		return path + strings.Repeat("?"+query, map[bool]int{true: 1}[has])
	}
	return path + "?…"
}

// maxShown bounds the tokens of a setup.
const maxShown = 32

// Grants returns what the tokens that a client showed in its setup let it do, or a *moqt.SessionError.
func (g *Gate) Grants(peer moqt.PeerInfo) (list []*auth.Grant, err error) {
	tokens, err := Shown(peer)
	if err != nil {
		return nil, g.refuse(peer.RemoteAddr, moqt.Token{}, err)
	}
	if len(tokens) > maxShown {
		return nil, g.refuse(peer.RemoteAddr, moqt.Token{}, fmt.Errorf("%w: more than %d tokens", auth.ErrMalformed, maxShown))
	}
	for _, t := range tokens {
		grant, err := g.Grant(t, time.Now())
		if err != nil {
			return nil, g.refuse(peer.RemoteAddr, t, err)
		}
		if grant != nil {
			list = append(list, grant)
		}
	}
	return list, nil
}

// refuse logs why a token is not taken, and returns it as the end of a session.
func (g *Gate) refuse(from string, t moqt.Token, err error) error {
	code, reason := SessionCode(err), err.Error()
	if code == wire.InternalError { // a fault of this relay, whose details are not told to the peer
		g.log().Error("tickets and tokens cannot be looked at, nobody comes with one", "err", err)
		return &moqt.SessionError{Code: code, Reason: "tickets and tokens cannot be looked at"}
	}
	if t.Type == ticket.TokenType {
		hint := "ec-relay ticket makes another"
		switch err {
		case ErrSpentTicket:
			hint += "; with --uses N it lets N programs in, and each start of ec-pub or ec-sub is another; ec-relay ticket --list shows how many may still come"
		case ErrUnknownTicket:
			hint += "; this one was revoked, is of another relay, or expired long ago"
		}
		g.log().Log(context.Background(), g.refusals.Level(), "ticket refused", "peer", from, "ticket", IDOfToken(t.Value), "why", reason, "hint", hint)
	} else {
		g.log().Log(context.Background(), g.refusals.Level(), "token refused", "peer", from, "type", fmt.Sprintf("%#x", t.Type), "why", reason, "hint", "ec-relay token make makes another")
	}
	return &moqt.SessionError{Code: code, Reason: reason}
}

// SessionCode is the code with which a session ends whose token is not good, or not good any more.
func SessionCode(err error) wire.SessionCode {
	switch {
	case errors.Is(err, auth.ErrExpired), errors.Is(err, ticket.ErrExpired):
		return wire.ExpiredAuthToken
	case errors.Is(err, auth.ErrMalformed):
		return wire.MalformedAuthToken
	case auth.Refusal(err), errors.Is(err, ErrUnknownTicket), errors.Is(err, ErrSpentTicket):
		return wire.Unauthorized
	}
	return wire.InternalError
}

// RequestCode is the code with which a request is refused whose token is not good.
func RequestCode(err error) wire.RequestCode {
	switch SessionCode(err) {
	case wire.ExpiredAuthToken:
		return wire.RequestExpiredAuthToken
	case wire.MalformedAuthToken:
		return wire.RequestMalformedAuthToken
	case wire.Unauthorized:
		return wire.RequestUnauthorized
	}
	return wire.RequestInternalError
}
