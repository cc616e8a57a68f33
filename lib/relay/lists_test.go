package relay

import (
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// TestPolicyChanges: another policy holds at once, for sessions that are up and what they do: nothing that it allows ends, nothing that it does not
// allow goes on, and it can be taken back.
func TestPolicyChanges(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", nil)
	hold := func(p auth.Policy) {
		t.Helper()
		g.gate.SetPolicy(p)
		g.lookAtGrants(time.Now())
		g.Enforce()
	}
	home := object.TrackName{Namespace: object.Namespace{"ec", "home", "1"}, Name: "ts"}
	names := []object.TrackName{ts, home}
	token, _ := g.token(t, auth.Terms{Publish: []object.Namespace{ec}}, time.Now())
	asked := &spool{asked: make(chan *moqt.Publication, 4)}
	c := g.serving(t, asked, token)
	pubs := map[string]*publisher{}
	for _, n := range names {
		pub, err := c.Publish(within(t, time.Minute), n, moqt.PublishOptions{})
		fatal(t, err)
		pubs[n.String()] = &publisher{t: t, c: c, pub: pub}
		pubs[n.String()].group(1)
	}
	see := func(n object.TrackName) string {
		t.Helper()
		r, err := g.with(t)
		if err != nil {
			return codeOf(err)
		}
		_, err = r.Subscribe(within(t, time.Minute), n, from(0))
		return codeOf(err)
	}
	served, refused := "<nil>", "request UNAUTHORIZED"
	want := func(what string, n object.TrackName, code string, listed bool) {
		t.Helper()
		if got := see(n); got != code {
			t.Errorf("%s: %v: %s, want %s", what, n, got, code)
		}
		if code == "session UNAUTHORIZED" {
			return
		}
		if list := g.listed(t, "ec"); slices.Contains(list, n.Namespace.String()) != listed {
			t.Errorf("%s: lists have %v", what, list)
		}
	}
	watch := func(n object.TrackName) *viewer {
		t.Helper()
		return g.viewer(t, n, from(0))
	}
	over := func(v *viewer) func() bool {
		return func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.end != nil }
	}

	// some namespaces are private
	a, b := watch(ts), watch(home)
	hold(auth.Policy{PrivateBelow: []object.Namespace{{"ec", "home"}}})
	wait(t, "the end of what is private now", over(b))
	pubs[ts.String()].group(2)
	a.whole(2)
	want("private below", ts, served, true)
	want("private below", home, refused, false)
	reads, _ := g.token(t, auth.Terms{Read: []object.Namespace{{"ec", "home"}}}, time.Now())
	r, err := g.with(t, reads)
	fatal(t, err)
	_, err = r.Subscribe(within(t, time.Minute), home, from(0))
	fatal(t, err)

	// a namespace is denied: its publisher is sent away with it alone, and is asked again afterwards
	hold(auth.Policy{Deny: auth.List{Namespaces: []object.Namespace{ts.Namespace}}})
	wait(t, "the end of what is denied", over(a))
	wait(t, "the publisher to be told", func() bool { return pubs[ts.String()].pub.Context().Err() != nil })
	want("denied", ts, refused, false)
	want("denied", home, served, true)
	if _, err := c.Publish(within(t, time.Minute), ts, moqt.PublishOptions{}); codeOf(err) != refused {
		t.Errorf("PUBLISH of what is denied: %v", err)
	}
	pubs[home.String()].group(2)
	hold(auth.Policy{})
	p := &publisher{t: t, c: c, pub: <-asked.asked}
	p.group(3)
	watch(ts).whole(3)

	// only some are allowed
	hold(auth.Policy{Allow: auth.List{Namespaces: []object.Namespace{{"ec", "home"}}}})
	want("allowed alone", ts, refused, false)
	want("allowed alone", home, served, true)

	// addresses
	hold(auth.Policy{Deny: auth.List{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	if code, after := c.ended(t); code != "session UNAUTHORIZED" {
		t.Errorf("a session of an address that is denied ended with %s after %v", code, after)
	}
	want("address", ts, "session UNAUTHORIZED", false)
	hold(auth.Policy{Allow: auth.List{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	want("another address is allowed", ts, "session UNAUTHORIZED", false)

	// tokens
	hold(auth.Policy{})
	bearer, id := g.token(t, auth.Terms{Read: []object.Namespace{ec}}, time.Now())
	r, err = g.with(t, bearer)
	fatal(t, err)
	hold(auth.Policy{Deny: auth.List{Tokens: []string{id}}})
	if code, _ := r.ended(t); code != "session UNAUTHORIZED" {
		t.Errorf("the bearer of a token that is denied: %s", code)
	}
	if _, err := g.with(t, bearer); codeOf(err) != "session UNAUTHORIZED" {
		t.Errorf("the bearer of a token that is denied comes again: %v", err)
	}
	want("a token", ts, served, true)
}

// TestReadersOfPrivateNames: by HTTP, too.
func TestReadersOfPrivateNames(t *testing.T) {
	up, _ := withHTTP(t, func(c *ServerConfig) {
		c.PrivateBelow = []object.Namespace{{"ec", "home"}}
		c.Deny = auth.List{Namespaces: []object.Namespace{{"ec", "adult"}}}
	})
	for path, status := range map[string]int{"ec-home-1/live.ts": 401, "ec-adult-1/live.ts": 403, "ec-atsc-1-1/live.ts": 404, "metrics": 401} {
		res, err := http.Get(up.HTTP[0] + path)
		fatal(t, err)
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s: %d %s, want %d", path, res.StatusCode, b, status)
		}
	}
}

// TestOperatorsPagesAreKeptFromWhoIsKeptOut: an address that is denied reads neither metrics nor status, which name everything.
func TestOperatorsPagesAreKeptFromWhoIsKeptOut(t *testing.T) {
	for _, denied := range []bool{false, true} {
		up, _ := withHTTP(t, func(c *ServerConfig) {
			if denied {
				c.Deny = auth.List{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			}
		})
		for _, path := range []string{"metrics", "status.json"} {
			res, err := http.Get(up.HTTP[0] + path)
			fatal(t, err)
			res.Body.Close()
			if (res.StatusCode == http.StatusForbidden) != denied {
				t.Errorf("%s, denied %t: %d", path, denied, res.StatusCode)
			}
		}
	}
}

// TestPolicyWaitsForTheHandshake: a session is not judged by its tokens before it has shown them.
func TestPolicyWaitsForTheHandshake(t *testing.T) {
	g := startGuarded(t, "127.0.0.1:0", nil)
	token, id := g.token(t, auth.Terms{Read: []object.Namespace{ec}}, time.Now())
	g.gate.SetPolicy(auth.Policy{Allow: auth.List{Tokens: []string{id}}})
	ctx := within(t, time.Minute)
	client, server := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18, MaxStreams: 16, Window: 1 << 20})
	var serving sync.WaitGroup
	serving.Go(func() { g.serve(ctx, moqt.NewServer(server, nil)) })
	wait(t, "the session", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.sessions) == 1
	})
	g.lookAtGrants(time.Now())
	s := moqt.NewClient(client, "relay", "/", &moqt.Config{Tokens: []moqt.Token{token}})
	if err := s.Handshake(ctx); err != nil {
		t.Error(err)
	}
	if n := g.lookAtGrants(time.Now()); n != 0 {
		t.Errorf("%d sessions ended", n)
	}
	s.Close(wire.NoError, "")
	serving.Wait()
}
