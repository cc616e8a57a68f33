package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func code(err error) int {
	var c interface{ ExitCode() int }
	if errors.As(err, &c) {
		return c.ExitCode()
	}
	return -1
}

func TestCheckURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"moqt://relay:4443": true, "moqt://[::1]:4443": true, "moqt://relay:4443/path?token=x": true,
		"https://relay:4443": true, "https://relay/path": true,
		"unix:///run/relay": true, "tcp://relay:4443/path": true, "ws://relay/path": true, "wss://relay:4443": true,
		"unix://run/relay": false, "tcp://relay": false, "ws:///path": false,
		"relay:4443": false, "relay": false, "http://relay:4443": false, "https://:4443": false, "moqt://relay": false, "moqt://:4443": false, "": false, "moqt://%": false,
		"moqt://relay:99999": false,
	} {
		err := client.CheckURL(url)
		if (err == nil) != ok || !ok && code(err) != 64 {
			t.Errorf("CheckURL(%q) = %v", url, err)
		}
	}
}

// The work's own error is the end; it is not taken for a loss.
func TestWorkFails(t *testing.T) {
	relay := relaytest.New(t)
	own := errors.New("enough")
	err := client.Run(testContext(t), client.Config{Relay: relay.URL(), TLS: relay.TLS()}, func(context.Context, *client.Session) error { return own })
	if !errors.Is(err, own) || relay.Sessions() != 1 {
		t.Errorf("%v after %d sessions", err, relay.Sessions())
	}
}

// What streams say when their session is lost is no error of the work, although the session shows that it is lost only later.
func TestLossShowsAtStreamsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sessions []*moqt.Session // of the relay
		dial := func(ctx context.Context, _ string, _ *tls.Config, conf *moqt.Config) (*moqt.Session, error) {
			a, b := moqt.Pipe(moqt.PipeOptions{Version: wire.Draft18})
			s, c := moqt.NewServer(b, nil), moqt.NewClient(a, "relay", "/", conf)
			go s.Run(context.Background())
			sessions = append(sessions, s)
			return c, c.Handshake(ctx)
		}
		err := client.Run(t.Context(), client.Config{Relay: "unix:///relay", Dial: dial}, func(context.Context, *client.Session) error {
			if len(sessions) == 2 {
				return nil
			}
			time.AfterFunc(100*time.Millisecond, func() { sessions[0].Close(wire.InternalError, "gone") })
			return errors.New("received a stateless reset")
		})
		if err != nil || len(sessions) != 2 {
			t.Errorf("%v after %d sessions", err, len(sessions))
		}
		for _, s := range sessions {
			s.Close(wire.NoError, "")
		}
	})
}

// A lost session is replaced, and the work's context ends with it.
func TestLoss(t *testing.T) {
	relay := relaytest.New(t)
	n := 0
	err := client.Run(testContext(t), client.Config{Relay: relay.URL(), TLS: relay.TLS()}, func(ctx context.Context, sess *client.Session) error {
		if n++; n == 2 {
			return nil
		}
		go func() { relay.Stop(); relay.Start() }()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if err != nil || n != 2 {
		t.Errorf("%v after %d sessions", err, n)
	}
}

// GOAWAY sends us away; the relay says where to.
func TestGoAway(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	a.Leave(b.URL())
	var relays []string
	conf := a.TLS()
	conf.VerifyConnection = nil // both
	err := client.Run(testContext(t), client.Config{Relay: a.URL(), TLS: conf}, func(ctx context.Context, sess *client.Session) error {
		relays = append(relays, sess.RemoteAddr().String())
		if len(relays) == 2 {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if err != nil || len(relays) != 2 || "moqt://"+relays[1] != b.URL() {
		t.Errorf("%v, went to %v", err, relays)
	}
}

func TestRetryLimits(t *testing.T) {
	relay := relaytest.New(t)
	url, trust := relay.URL(), relay.TLS()
	relay.Stop()
	quick := moqt.Config{HandshakeTimeout: 100 * time.Millisecond}
	never := func(context.Context, *client.Session) error { t.Error("connected"); return nil }
	for name, retry := range map[string]time.Duration{"at once": 0, "after some time": time.Second} {
		began := time.Now()
		err := client.Run(testContext(t), client.Config{Relay: url, TLS: trust, RetryStart: retry, Session: quick}, never)
		if took := time.Since(began); code(err) != 69 || took > retry+2*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
	relay.Start()
	err := client.Run(testContext(t), client.Config{Relay: url, TLS: trust, RetryLost: -1, Session: quick}, func(ctx context.Context, sess *client.Session) error {
		go relay.Stop()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if code(err) != 69 {
		t.Errorf("lost, not to be tried again: %v", err)
	}
}

// What a relay refuses with decides what the exit code is.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		code wire.RequestCode
		exit int
	}{
		{wire.RequestUnauthorized, 77}, {wire.RequestExpiredAuthToken, 77}, {wire.RequestExcessiveLoad, 75}, {wire.RequestRedirect, 69},
		{wire.RequestGoingAway, 69}, {wire.RequestInternalError, 69}, {wire.RequestMalformedTrack, 76}, {wire.RequestNotSupported, 76},
	} {
		relay := relaytest.New(t)
		refusal := &moqt.RequestError{Code: test.code, Reason: "test"}
		err := client.Run(testContext(t), client.Config{Relay: relay.URL(), TLS: relay.TLS(), RetryLost: -1}, func(context.Context, *client.Session) error {
			return refusal
		})
		if code(err) != test.exit || !errors.Is(err, refusal) {
			t.Errorf("%v: exit code %d, want %d: %v", test.code, code(err), test.exit, err)
		}
	}
}

func TestVersions(t *testing.T) {
	for draft, n := range map[string]int{"": 0, "16": 1, "18": 1, "20": 1, "22": 1} {
		if v, err := client.Versions(draft); err != nil || len(v) != n {
			t.Errorf("Versions(%q) = %v, %v", draft, v, err)
		}
	}
	if _, err := client.Versions("17"); code(err) != 64 {
		t.Errorf("draft 17: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	relay := relaytest.New(t)
	cause := errors.New("signal")
	ctx, cancel := context.WithCancelCause(testContext(t))
	err := client.Run(ctx, client.Config{Relay: relay.URL(), TLS: relay.TLS()}, func(ctx context.Context, _ *client.Session) error {
		cancel(cause)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}
