package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
	"every.channel/ec/lib/ticket"
)

// guarded is a relay to which nobody is local, with what makes tokens for it.
type guarded struct {
	*server
	gate   *mesh.Gate
	key    ed25519.PrivateKey
	tokens *auth.Tokens
}

// startGuarded starts a relay at which the sessions of the test are strangers, unless set says something else.
func startGuarded(t testing.TB, addr string, set func(g *mesh.Gate)) *guarded {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	fatal(t, err)
	dir := t.TempDir()
	tokens := auth.NewTokens(dir)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	fatal(t, err)
	file := filepath.Join(dir, auth.KeyID(key.Public().(ed25519.PublicKey))+".pem")
	fatal(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	g := &mesh.Gate{
		Tickets: mesh.NewTickets(dir), Tool: func(*moqt.Session) error { return errors.New("not this time") },
		Authority: &auth.Authority{Files: []string{file}, Tokens: tokens},
	}
	if set != nil {
		set(g)
	}
	s := startWith(t, dir, addr, Config{Gate: g, Rights: g}, store.Config{}, &moqt.Config{Authorize: g.Admit, AskWhen: tokens.OfKeys})
	return &guarded{s, g, key, tokens}
}

// token makes one, and returns its id, too.
func (g *guarded) token(t testing.TB, terms auth.Terms, at time.Time) (tok moqt.Token, id string) {
	t.Helper()
	text, made, err := g.tokens.Make(terms, g.key, at)
	if err != nil {
		t.Fatal(err)
	}
	value, kind, err := auth.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return moqt.Token{AliasType: wire.TokenUseValue, Type: kind, Value: value}, made.ID
}

// with opens a session that shows tokens in its setup, or returns why there is none.
func (g *guarded) with(t testing.TB, tokens ...moqt.Token) (*client, error) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	ms, err := moqt.Dial(ctx, g.url(), g.tls, &moqt.Config{Tokens: tokens})
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() { ms.Run(context.Background()); close(done) }()
	c := &client{ms, func() { ms.Close(wire.NoError, ""); <-done }}
	t.Cleanup(c.leave)
	if _, err := ms.Peer(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// serving does the same for a client that answers requests.
func (g *guarded) serving(t testing.TB, h moqt.Handler, tokens ...moqt.Token) *client {
	t.Helper()
	return g.dialWith(t, &moqt.Config{Tokens: tokens, Handler: h})
}

// codeOf names the code of an error: of the request, or of the session's end.
func codeOf(err error) string {
	if r, is := errors.AsType[*moqt.RequestError](err); is {
		return "request " + r.Code.String()
	}
	if s, is := errors.AsType[*moqt.SessionError](err); is {
		return "session " + s.Code.String()
	}
	return fmt.Sprint(err)
}

var (
	ec      = object.Namespace{"ec"}
	another = object.Namespace{"other"}
)

// transports are all over which sessions come.
var transports = []string{"moqt", "https", "unix", "tcp", "ws", "wss"}

// TestWhoMayPublish is the table of attacks on publishing, over each transport, with the code that each ends with.
func TestWhoMayPublish(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			g := startGuarded(t, listenAt(t, transport), nil)
			now := time.Now()
			good, _ := g.token(t, auth.Terms{Publish: []object.Namespace{ec}}, now)
			expired, _ := g.token(t, auth.Terms{Publish: []object.Namespace{ec}, Life: time.Second}, now.Add(-time.Hour))
			elsewhere, _ := g.token(t, auth.Terms{Publish: []object.Namespace{another}}, now)
			narrower, _ := g.token(t, auth.Terms{Publish: []object.Namespace{append(ts.Namespace[:len(ts.Namespace):len(ts.Namespace)], "more")}}, now)
			reads, _ := g.token(t, auth.Terms{Read: []object.Namespace{nil}}, now)
			revoked, id := g.token(t, auth.Terms{Publish: []object.Namespace{ec}}, now)
			if _, err := g.tokens.Revoke(id, now); err != nil {
				t.Fatal(err)
			}
			foreign := startGuarded(t, "127.0.0.1:0", nil)
			strangers, _ := foreign.token(t, auth.Terms{Publish: []object.Namespace{ec}}, now)
			value := func(kind uint64, b string) moqt.Token {
				return moqt.Token{AliasType: wire.TokenUseValue, Type: kind, Value: []byte(b)}
			}
			tk := &ticket.Ticket{Addresses: []string{"moqt://relay:4443"}}
			if err := g.gate.Tickets.Issue(tk, mesh.Terms{Uses: 1}, now); err != nil {
				t.Fatal(err)
			}
			byTicket := func(who byte) moqt.Token { return value(ticket.TokenType, string(tk.Token([16]byte{who}))) }
			const ok = "<nil>"
			for _, c := range []struct {
				name    string
				setup   []moqt.Token // in the session's setup
				request []moqt.Token // with PUBLISH
				want    string
			}{
				{"nothing", nil, nil, "request UNAUTHORIZED"},
				{"token in the setup", []moqt.Token{good}, nil, ok},
				{"token in the request", nil, []moqt.Token{good}, ok},
				{"ticket", []moqt.Token{byTicket(1)}, nil, ok},
				{"ticket that is spent", []moqt.Token{byTicket(2)}, nil, "session UNAUTHORIZED"},
				{"a worthless one beside a good one", nil, []moqt.Token{good, expired}, "request EXPIRED_AUTH_TOKEN"},
				{"expired in the setup", []moqt.Token{expired}, nil, "session EXPIRED_AUTH_TOKEN"},
				{"expired in the request", nil, []moqt.Token{expired}, "request EXPIRED_AUTH_TOKEN"},
				{"wrong key in the setup", []moqt.Token{strangers}, nil, "session UNAUTHORIZED"},
				{"wrong key in the request", nil, []moqt.Token{strangers}, "request UNAUTHORIZED"},
				{"revoked in the setup", []moqt.Token{revoked}, nil, "session UNAUTHORIZED"},
				{"revoked in the request", nil, []moqt.Token{revoked}, "request UNAUTHORIZED"},
				{"wrong scope", []moqt.Token{elsewhere}, nil, "request UNAUTHORIZED"},
				{"too narrow a scope", []moqt.Token{narrower}, nil, "request UNAUTHORIZED"},
				{"scope of a reader", []moqt.Token{reads}, nil, "request UNAUTHORIZED"},
				{"not a token, in the setup", []moqt.Token{value(auth.TypeJWT, "hello")}, nil, "session MALFORMED_AUTH_TOKEN"},
				{"not a token, in the request", nil, []moqt.Token{value(auth.TypeCAT, "hello")}, "request MALFORMED_AUTH_TOKEN"},
				{"oversized", nil, []moqt.Token{value(auth.TypeJWT, strings.Repeat("a", auth.MaxToken+1))}, "request MALFORMED_AUTH_TOKEN"},
				{"a type nobody knows", []moqt.Token{value(0x4242, string(good.Value))}, nil, "request UNAUTHORIZED"},
				{"the same one twice", nil, []moqt.Token{good, good}, "request MALFORMED_AUTH_TOKEN"},
				{"an alias that was never registered", nil, []moqt.Token{{AliasType: wire.TokenUseAlias, Alias: 7}}, "session UNKNOWN_AUTH_TOKEN_ALIAS"},
				{"an alias that was never registered, deleted", nil, []moqt.Token{{AliasType: wire.TokenDelete, Alias: 7}}, "session UNKNOWN_AUTH_TOKEN_ALIAS"},
				{"an alias registered twice", nil, []moqt.Token{
					{AliasType: wire.TokenRegister, Alias: 7, Type: good.Type, Value: good.Value}, {AliasType: wire.TokenRegister, Alias: 7, Type: reads.Type, Value: reads.Value},
				}, "session DUPLICATE_AUTH_TOKEN_ALIAS"},
				{"an alias that is used after it was deleted", nil, []moqt.Token{
					{AliasType: wire.TokenRegister, Alias: 7, Type: reads.Type, Value: reads.Value}, {AliasType: wire.TokenDelete, Alias: 7}, {AliasType: wire.TokenUseAlias, Alias: 7},
				}, "session UNKNOWN_AUTH_TOKEN_ALIAS"},
				{"an alias of a worthless one", nil, []moqt.Token{{AliasType: wire.TokenRegister, Alias: 7, Type: expired.Type, Value: expired.Value}}, "request EXPIRED_AUTH_TOKEN"},
				{"aliases that are too much", nil, []moqt.Token{
					{AliasType: wire.TokenRegister, Alias: 7, Type: 0x4242, Value: make([]byte, 9000)}, {AliasType: wire.TokenRegister, Alias: 8, Type: 0x4243, Value: make([]byte, 9000)},
				}, "session AUTH_TOKEN_CACHE_OVERFLOW"},
				{"an alias registered with the request", nil, []moqt.Token{{AliasType: wire.TokenRegister, Alias: 7, Type: good.Type, Value: good.Value}}, ok},
			} {
				s, err := g.with(t, c.setup...)
				if err == nil {
					var pub *moqt.Publication
					pub, err = s.Publish(within(t, 20*time.Second), ts, moqt.PublishOptions{Tokens: c.request})
					if err == nil {
						pub.Done(wire.DoneTrackEnded, "")
					} else if cause, is := errors.AsType[*moqt.SessionError](context.Cause(s.Context())); is && s.Context().Err() != nil {
						err = cause
					}
					s.leave()
				}
				if got := codeOf(err); got != c.want {
					t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
				}
			}
		})
	}
}

// ended waits for the end of a session, and returns its code and how long that took.
func (c *client) ended(t testing.TB) (code string, after time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case <-c.Context().Done():
		return codeOf(context.Cause(c.Context())), time.Since(began)
	case <-time.After(10 * time.Second):
		t.Fatal("the session goes on")
		return "", 0
	}
}

// What a token allowed ends within a second of the token's end, whatever the end is, for whoever came with the token and whoever needs it; others
// stay.
func TestTokenEndsInMidSession(t *testing.T) {
	for name, end := range map[string]struct {
		life time.Duration
		end  func(t *testing.T, g *guarded, id string)
		want string
	}{
		"revoked": {0, func(t *testing.T, g *guarded, id string) { _, err := g.tokens.Revoke(id, time.Now()); fatal(t, err) }, "session UNAUTHORIZED"},
		"expired": {time.Second, func(*testing.T, *guarded, string) {}, "session EXPIRED_AUTH_TOKEN"},
		"key is gone": {0, func(t *testing.T, g *guarded, _ string) {
			fatal(t, os.Remove(g.gate.Authority.Files[0]))
		}, "session UNAUTHORIZED"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, "127.0.0.1:0", func(g *mesh.Gate) { g.Private = true })
			everything := auth.Terms{Publish: []object.Namespace{ec}, Read: []object.Namespace{nil}, Life: end.life}
			tok, id := g.token(t, everything, time.Now())
			ctx := within(t, 20*time.Second)
			open := func(tokens ...moqt.Token) *client {
				t.Helper()
				c, err := g.with(t, tokens...)
				fatal(t, err)
				return c
			}
			publisher, announcer, lister, idle, request := open(tok), open(tok), open(tok), open(tok), open()
			pub, err := publisher.Publish(ctx, ts, moqt.PublishOptions{})
			fatal(t, err)
			_, err = announcer.PublishNamespace(ctx, object.Namespace{"ec", "x"})
			fatal(t, err)
			_, err = lister.SubscribeNamespace(ctx, nil, moqt.SubscribeNamespaceOptions{})
			fatal(t, err)
			_, err = request.Subscribe(ctx, ts, moqt.SubscribeOptions{Tokens: []moqt.Token{tok}})
			fatal(t, err)
			bystander := open() // has shown nothing, and does nothing
			end.end(t, g, id)
			for who, c := range map[string]*client{"publisher": publisher, "announcer": announcer, "lister": lister, "idle": idle, "subscriber": request} {
				code, after := c.ended(t)
				if code != end.want || after > end.life+time.Second {
					t.Errorf("%s: %s after %v", who, code, after)
				}
			}
			if pub.Context().Err() == nil {
				t.Error("the publication goes on")
			}
			if err := bystander.Context().Err(); err != nil {
				t.Error("a session without the token ended: ", context.Cause(bystander.Context()))
			}
		})
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A session that shows another token in time goes on when the first one ends, if the other allows what it does.
func TestTokenIsRenewed(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", nil)
	ctx, now := within(t, 20*time.Second), time.Now()
	first, id := g.token(t, auth.Terms{Publish: []object.Namespace{ec}}, now)
	next, nextID := g.token(t, auth.Terms{Publish: []object.Namespace{ec}}, now)
	c, err := g.with(t, first)
	fatal(t, err)
	_, err = c.Publish(ctx, ts, moqt.PublishOptions{})
	fatal(t, err)
	_, err = c.TrackStatus(ctx, ts, next)
	fatal(t, err)
	_, err = g.tokens.Revoke(id, now)
	fatal(t, err)
	if n := g.lookAtGrants(time.Now()); n != 0 {
		t.Errorf("%d sessions ended", n)
	}
	_, err = g.tokens.Revoke(nextID, now)
	fatal(t, err)
	if n := g.lookAtGrants(time.Now()); n != 1 {
		t.Errorf("%d sessions ended, want one", n)
	}
}

// The other one may come with an update of a request that lasts. One that is worth nothing refuses the update.
func TestTokenIsRenewedByAnUpdate(t *testing.T) {
	for _, v := range []moqt.Version{wire.Draft16, wire.Draft18, wire.Draft20} {
		g := startGuarded(t, "127.0.0.1:0", func(g *mesh.Gate) { g.Private = true })
		ctx, now := within(t, 20*time.Second), time.Now()
		writes, _ := g.token(t, auth.Terms{Publish: []object.Namespace{nil}}, now)
		first, id := g.token(t, auth.Terms{Read: []object.Namespace{ec}}, now)
		next, nextID := g.token(t, auth.Terms{Read: []object.Namespace{ec}}, now)
		p, err := g.with(t, writes)
		fatal(t, err)
		_, err = p.Publish(ctx, ts, moqt.PublishOptions{})
		fatal(t, err)
		ms, err := moqt.Dial(ctx, g.url(), g.tls, &moqt.Config{Versions: []moqt.Version{v}})
		fatal(t, err)
		go ms.Run(t.Context())
		t.Cleanup(func() { ms.Close(wire.NoError, "") })
		sub, err := ms.Subscribe(ctx, ts, moqt.SubscribeOptions{Tokens: []moqt.Token{first}})
		fatal(t, err)
		fatal(t, sub.Update(ctx, moqt.UpdateOptions{Tokens: []moqt.Token{next}}))
		_, err = g.tokens.Revoke(id, now)
		fatal(t, err)
		if n := g.lookAtGrants(time.Now()); n != 0 {
			t.Errorf("%v: %d sessions ended", v, n)
		}
		c, err := g.with(t, next)
		fatal(t, err)
		refused, err := c.Subscribe(ctx, ts, moqt.SubscribeOptions{})
		fatal(t, err)
		if err := refused.Update(ctx, moqt.UpdateOptions{Tokens: []moqt.Token{first}}); codeOf(err) != "request UNAUTHORIZED" {
			t.Errorf("%v: %v", v, err)
		}
		_, err = g.tokens.Revoke(nextID, now)
		fatal(t, err)
		g.lookAtGrants(time.Now())
		select {
		case <-ms.Context().Done():
		case <-ctx.Done():
			t.Errorf("%v: the session goes on", v)
		}
	}
}

// TestWhoMayRead is the table for a private relay: each request, without a token and with tokens of several scopes.
func TestWhoMayRead(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			g := startGuarded(t, listenAt(t, transport), func(g *mesh.Gate) { g.Private = true })
			ctx, now := within(t, time.Minute), time.Now()
			writes, _ := g.token(t, auth.Terms{Publish: []object.Namespace{nil}}, now)
			reads, _ := g.token(t, auth.Terms{Read: []object.Namespace{ts.Namespace}}, now)
			elsewhere, _ := g.token(t, auth.Terms{Read: []object.Namespace{another}}, now)
			all, _ := g.token(t, auth.Terms{Read: []object.Namespace{nil}}, now)
			publishers, err := g.with(t, writes)
			fatal(t, err)
			hidden := object.TrackName{Namespace: object.Namespace{"ec", "hidden"}, Name: "ts"}
			for _, n := range []object.TrackName{ts, hidden} {
				pub, err := publishers.Publish(ctx, n, moqt.PublishOptions{})
				fatal(t, err)
				(&publisher{t: t, c: publishers, pub: pub}).group(0)
			}
			wait(t, "objects", func() bool { l, _ := g.largest(hidden); return l != nil })
			wait(t, "objects", func() bool { l, _ := g.largest(ts); return l != nil })
			requests := map[string]func(c *client) error{
				"SUBSCRIBE":    func(c *client) error { _, err := c.Subscribe(ctx, ts, moqt.SubscribeOptions{}); return err },
				"TRACK_STATUS": func(c *client) error { _, err := c.TrackStatus(ctx, ts); return err },
				"FETCH": func(c *client) error {
					_, err := c.Fetch(ctx, ts, moqt.Location{}, moqt.Location{Group: 1}, moqt.FetchOptions{})
					return err
				},
				"list of groups": func(c *client) error {
					n := object.TrackName{Namespace: append(object.Namespace{mesh.InventoryField}, ts.Namespace...), Name: ts.Name}
					_, err := c.Fetch(ctx, n, moqt.Location{}, moqt.Location{Group: 1}, moqt.FetchOptions{})
					return err
				},
				"SUBSCRIBE_NAMESPACE": func(c *client) error {
					_, err := c.SubscribeNamespace(ctx, nil, moqt.SubscribeNamespaceOptions{})
					return err
				},
				"SUBSCRIBE_TRACKS": func(c *client) error {
					_, err := c.SubscribeNamespace(ctx, ec, moqt.SubscribeNamespaceOptions{Publish: true, NoListing: true})
					return err
				},
				"routes": func(c *client) error {
					_, err := c.SubscribeNamespace(ctx, object.Namespace{routesField}, moqt.SubscribeNamespaceOptions{})
					return err
				},
			}
			for name, ask := range requests {
				want := map[string]bool{"nothing": false, "reads": true, "elsewhere": false, "all": true, "writes": name == "TRACK_STATUS" || strings.HasPrefix(name, "FETCH") || name == "list of groups"}
				switch name {
				case "SUBSCRIBE_NAMESPACE": // of any prefix that may hold what one may see; what is seen is below
					want["elsewhere"] = true
				case "routes":
					want["reads"] = false
				}
				for by, tokens := range map[string][]moqt.Token{"nothing": nil, "reads": {reads}, "elsewhere": {elsewhere}, "all": {all}, "writes": {writes}} {
					c, err := g.with(t, tokens...)
					fatal(t, err)
					err = ask(c)
					if got := codeOf(err); (got != "request UNAUTHORIZED") != want[by] || want[by] && err != nil && name != "list of groups" {
						t.Errorf("%s with %s: %s (%v), want allowed %v", name, by, got, err, want[by])
					}
					c.leave()
				}
			}
			// What is listed, and what is pushed, is what may be read.
			c, err := g.with(t, reads)
			fatal(t, err)
			list, err := c.SubscribeNamespace(ctx, nil, moqt.SubscribeNamespaceOptions{})
			fatal(t, err)
			event, err := list.Next(ctx)
			if err != nil || event.Namespace.String() != ts.Namespace.String() {
				t.Errorf("listed: %v, %v", event, err)
			}
			short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			defer cancel()
			if event, err := list.Next(short); err == nil {
				t.Errorf("listed, too: %v", event)
			}
		})
	}
}

// A relay with --open lets everybody publish; a token that is worth nothing is refused there, too.
func TestOpen(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", func(g *mesh.Gate) { g.Open = true })
	c, err := g.with(t)
	fatal(t, err)
	if _, err := c.Publish(within(t, 20*time.Second), ts, moqt.PublishOptions{}); err != nil {
		t.Error(err)
	}
	expired, _ := g.token(t, auth.Terms{Publish: []object.Namespace{ec}, Life: time.Second}, time.Now().Add(-time.Hour))
	if _, err := g.with(t, expired); codeOf(err) != "session EXPIRED_AUTH_TOKEN" {
		t.Error(err)
	}
}

// The tools of the relay's own user need no token over a socket of their own, and nobody counts as one over HTTP, through ec-iroh or through another
// program (TestTool in lib/mesh).
func TestOwnToolsMayPublish(t *testing.T) {
	for transport, want := range map[string]string{
		"moqt": "<nil>", "unix": "<nil>", "tcp": "<nil>", "https": "request UNAUTHORIZED", "ws": "request UNAUTHORIZED", "wss": "request UNAUTHORIZED",
	} {
		for name, set := range map[string]func(*mesh.Gate){
			"":        func(g *mesh.Gate) { g.Tool = nil },
			"private": func(g *mesh.Gate) { g.Tool, g.Private = mesh.Tool, true },
			"a relay": func(g *mesh.Gate) { g.Tool, g.Private = nil, true }, // as which this program counts, because it is the one that serves
		} {
			g := startGuarded(t, listenAt(t, transport), set)
			c, err := g.with(t)
			fatal(t, err)
			want := want
			if name == "a relay" {
				want = "request UNAUTHORIZED"
			}
			_, err = c.Publish(within(t, 20*time.Second), ts, moqt.PublishOptions{})
			if got := codeOf(err); got != want {
				t.Errorf("%s, %s: %s", transport, name, got)
			}
			_, err = c.SubscribeNamespace(within(t, 20*time.Second), ec, moqt.SubscribeNamespaceOptions{})
			if may := want == "<nil>" || name == ""; (err == nil) != may {
				t.Errorf("%s, %s, reading: %v", transport, name, err)
			}
		}
	}
}

// More tokens than a session may have are refused, and cost no memory.
func TestManyTokens(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", nil)
	c, err := g.with(t)
	fatal(t, err)
	for i := range maxGrants + 1 {
		tok, _ := g.token(t, auth.Terms{Publish: []object.Namespace{another}}, time.Now())
		_, err := c.Publish(within(t, 20*time.Second), ts, moqt.PublishOptions{Tokens: []moqt.Token{tok}})
		if codeOf(err) != "request UNAUTHORIZED" || strings.Contains(err.Error(), "more than") != (i == maxGrants) {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// Who proves to have a key that is listed needs no token, over raw QUIC, until the entry is revoked. Another key, and the same one over a
// transport on which nobody proves a key, allow nothing.
func TestClientKey(t *testing.T) {
	for transport, proves := range map[string]bool{"moqt": true, "https": false, "unix": false, "wss": false} {
		t.Run(transport, func(t *testing.T) {
			g := startGuarded(t, listenAt(t, transport), nil)
			listed, other := clientKey(t), clientKey(t)
			publish := func(cert *tls.Certificate) (*client, error) {
				t.Helper()
				conf := g.tls.Clone()
				conf.Certificates = []tls.Certificate{*cert}
				c, err := (&guarded{server: &server{addr: g.addr, tls: conf}}).with(t)
				fatal(t, err)
				_, err = c.Publish(within(t, 20*time.Second), ts, moqt.PublishOptions{})
				return c, err
			}
			if _, err := publish(listed); codeOf(err) != "request UNAUTHORIZED" {
				t.Errorf("before it is listed: %v", err)
			}
			leaf, err := x509.ParseCertificate(listed.Certificate[0])
			fatal(t, err)
			_, made, err := g.tokens.Make(auth.Terms{Publish: []object.Namespace{ec}, Client: keys.OfKey(leaf).String()}, g.key, time.Now())
			fatal(t, err)
			if _, err := publish(other); codeOf(err) != "request UNAUTHORIZED" {
				t.Errorf("another key: %v", err)
			}
			c, err := publish(listed)
			if (err == nil) != proves {
				t.Fatalf("%v", err)
			}
			if !proves {
				return
			}
			_, err = g.tokens.Revoke(made.ID, time.Now())
			fatal(t, err)
			if code, after := c.ended(t); code != "session UNAUTHORIZED" || after > time.Second {
				t.Errorf("%s after %v", code, after)
			}
			if _, err := publish(listed); codeOf(err) != "request UNAUTHORIZED" {
				t.Errorf("after it was revoked: %v", err)
			}
		})
	}
}

// clientKey is a key in a file, as --client-key has it.
func clientKey(t *testing.T) *tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	fatal(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	fatal(t, err)
	file := filepath.Join(t.TempDir(), "key")
	fatal(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	cert, err := keys.Client(file)
	fatal(t, err)
	fatal(t, os.Chmod(file, 0o644))
	if _, err := keys.Client(file); err == nil {
		t.Error("a key that others may read is used")
	}
	return cert
}

// naming is a publisher that says that it has tracks.
type naming struct {
	*keeping
	names string
}

func (n *naming) Fetch(ctx context.Context, r *moqt.FetchRequest) {
	if len(r.Track.Namespace) > 1 || r.Track.Namespace[0] != mesh.InventoryField {
		n.keeping.Fetch(ctx, r)
		return
	}
	if w, err := r.Accept(moqt.FetchInfo{End: moqt.Location{Object: 1}}); err == nil {
		w.WriteObject(moqt.FetchObject{}, []byte(n.names))
		w.Close()
	}
}

// TestKeeperBringsWhatItMay: of the tracks that a publisher says to have, the relay fetches those that the publisher may publish.
func TestKeeperBringsWhatItMay(t *testing.T) {
	for _, all := range []bool{true, false} {
		g := startGuarded(t, "127.0.0.1:0", nil)
		terms := auth.Terms{Publish: []object.Namespace{another}}
		if all {
			terms.Publish = append(terms.Publish, ts.Namespace)
		}
		tok, _ := g.token(t, terms, time.Now())
		own := object.TrackName{Namespace: another, Name: "y"}
		k := &naming{&keeping{groups: []uint64{8, 10}}, ts.String() + "\n" + own.String() + "\n"}
		ms, err := moqt.Dial(within(t, 20*time.Second), g.url(), g.tls, &moqt.Config{Tokens: []moqt.Token{tok}, Handler: k})
		fatal(t, err)
		done := make(chan struct{})
		go func() { ms.Run(context.Background()); close(done) }()
		pub, err := ms.Publish(within(t, 20*time.Second), object.TrackName{Namespace: another, Name: "x"}, moqt.PublishOptions{})
		fatal(t, err)
		(&publisher{t: t, c: &client{ms, nil}, pub: pub}).group(1)
		has := func(name object.TrackName) bool { return g.store.Lookup(name) != nil }
		wait(t, "the tracks of earlier runs", func() bool { return has(own) && (!all || has(ts)) })
		if !all && has(ts) {
			t.Error("a publisher brought a track that it may not publish")
		}
		ms.Close(wire.NoError, "")
		<-done
	}
}

// TestInsideReadsOneNamespace: what a private relay's own HTTP server reads for somebody who may read one namespace is in that namespace,
// whatever a catalog there points to.
func TestInsideReadsOneNamespace(t *testing.T) {
	for _, private := range []bool{true, false} {
		g := startGuarded(t, "127.0.0.1:0", func(g *mesh.Gate) { g.Private = private })
		client, server := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18, MaxStreams: 64, Window: 1 << 16})
		ctx := within(t, 20*time.Second)
		done := make(chan struct{})
		go func() { g.serveInside(ctx, moqt.NewServer(server, nil), another); close(done) }()
		s := moqt.NewClient(client, "this", "/", nil)
		go s.Run(ctx)
		fatal(t, s.Handshake(ctx))
		for ns, want := range map[string]string{"other": "request DOES_NOT_EXIST", "other-below": "request DOES_NOT_EXIST", "ec-atsc-1-1": "request UNAUTHORIZED"} {
			if !private {
				want = "request DOES_NOT_EXIST"
			}
			at, err := object.ParseNamespace(ns)
			fatal(t, err)
			if _, err := s.Subscribe(ctx, object.TrackName{Namespace: at, Name: "ts"}, moqt.SubscribeOptions{}); codeOf(err) != want {
				t.Errorf("private %v, %s: %v, want %s", private, ns, err, want)
			}
		}
		s.Close(wire.NoError, "")
		<-done
	}
}
