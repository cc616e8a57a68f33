package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

var track = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t13"}

// anyRelay trusts every relay of a test, which have certificates of their own.
func anyRelay(r *relaytest.Relay) *tls.Config {
	conf := r.TLS()
	conf.VerifyConnection = nil
	return conf
}

// once runs work with a relay that is not tried again.
func once(t *testing.T, r *relaytest.Relay, work func(ctx context.Context, sess *client.Session) error) error {
	return client.Run(testContext(t), client.Config{Relay: r.URL(), TLS: anyRelay(r), RetryLost: -1}, work)
}

// sendsTo makes a relay send every request on.
func sendsTo(r *relaytest.Relay, uri string) {
	r.Redirect = func(string, object.TrackName) *moqt.Redirect { return &moqt.Redirect{URI: uri} }
}

// payload is that of the next object of a subscription, which the relay gets now.
func payload(ctx context.Context, sub *moqt.Subscription, r *relaytest.Relay, group uint64) (string, error) {
	r.Put(sub.Track(), object.Object{Group: group, Payload: []byte("hello")})
	g, err := sub.AcceptSubgroup(ctx)
	if err != nil {
		return "", err
	}
	defer g.Cancel(wire.ResetCancelled)
	if _, err := g.Next(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(g)
	return string(b), err
}

// Every request goes where the relay sends it, and the relay that was dialed stays up.
func TestRedirectIsFollowed(t *testing.T) {
	a, b, c := relaytest.New(t), relaytest.New(t), relaytest.New(t)
	sendsTo(a, b.URL())
	sendsTo(b, c.URL())
	c.Put(track, object.Object{Group: 6, Payload: []byte("first")})
	err := once(t, a, func(ctx context.Context, sess *client.Session) error {
		info, err := sess.TrackStatus(ctx, track)
		if err != nil || info.Largest == nil || info.Largest.Group != 6 {
			return fmt.Errorf("status %+v: %w", info, err)
		}
		sub, err := sess.Subscribe(ctx, track, moqt.SubscribeOptions{})
		if err != nil {
			return err
		}
		if got, err := payload(ctx, sub, c, 7); err != nil || got != "hello" {
			return fmt.Errorf("subscribed to %q: %w", got, err)
		}
		f, err := sess.Fetch(ctx, track, moqt.Location{Group: 7}, moqt.Location{Group: 7}, moqt.FetchOptions{})
		if err != nil {
			return err
		}
		if o, err := f.Next(); err != nil || o.Group != 7 {
			return fmt.Errorf("fetched %+v: %w", o, err)
		}
		f.Cancel()
		list, err := sess.SubscribeNamespace(ctx, object.Namespace{"ec"}, moqt.SubscribeNamespaceOptions{})
		if err != nil {
			return err
		}
		if e, err := list.Next(ctx); err != nil || !e.Namespace.Equal(track.Namespace) {
			return fmt.Errorf("listed %+v: %w", e, err)
		}
		list.Close()
		p, err := sess.PublishNamespace(ctx, object.Namespace{"ec", "mine"})
		if err != nil {
			return err
		}
		p.Done()
		pub, err := sess.Publish(ctx, object.TrackName{Namespace: object.Namespace{"ec", "mine"}, Name: "x"}, moqt.PublishOptions{})
		if err != nil {
			return err
		}
		pub.Done(wire.DoneTrackEnded, "")
		return sess.Session.Context().Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Sessions() != 1 || b.Sessions() != 1 || c.Sessions() != 1 {
		t.Errorf("%d, %d and %d sessions", a.Sessions(), b.Sessions(), c.Sessions())
	}
}

// A relay may know a track by another name; of what is published it may not change the name.
func TestRedirectToAnotherName(t *testing.T) {
	r := relaytest.New(t)
	other := object.TrackName{Namespace: object.Namespace{"ec", "elsewhere"}, Name: "ts"}
	r.Redirect = func(verb string, n object.TrackName) *moqt.Redirect {
		switch {
		case verb == "announce" && n.Namespace.Equal(track.Namespace):
			return &moqt.Redirect{Track: object.TrackName{Namespace: other.Namespace}}
		case n.Equal(track):
			return &moqt.Redirect{Track: other}
		}
		return nil
	}
	r.Put(other, object.Object{Group: 6, Payload: []byte("first")})
	err := once(t, r, func(ctx context.Context, sess *client.Session) error {
		sub, err := sess.Subscribe(ctx, track, moqt.SubscribeOptions{})
		if err != nil {
			return err
		}
		if got, err := payload(ctx, sub, r, 7); err != nil || got != "hello" || !sub.Track().Equal(other) {
			return fmt.Errorf("subscribed to %v, %q: %w", sub.Track(), got, err)
		}
		if _, err := sess.PublishNamespace(ctx, track.Namespace); code(err) != 76 {
			return fmt.Errorf("publishing another namespace: %w", err)
		}
		if _, err := sess.Publish(ctx, track, moqt.PublishOptions{}); code(err) != 76 {
			return fmt.Errorf("publishing another track: %w", err)
		}
		return nil
	})
	if err != nil || r.Sessions() != 1 {
		t.Errorf("%v after %d sessions", err, r.Sessions())
	}
}

// What is not followed ends the command, saying why.
func TestRedirectRefused(t *testing.T) {
	chain := func(n int) *relaytest.Relay {
		last := relaytest.New(t)
		for range n {
			r := relaytest.New(t)
			sendsTo(r, last.URL())
			last = r
		}
		return last
	}
	loop, back := relaytest.New(t), relaytest.New(t)
	sendsTo(loop, back.URL())
	sendsTo(back, loop.URL())
	itself, open, socket, gone := relaytest.New(t), relaytest.New(t), relaytest.New(t), relaytest.New(t)
	itself.Redirect = func(string, object.TrackName) *moqt.Redirect { return &moqt.Redirect{} }
	sendsTo(open, "tcp://127.0.0.1:9")
	sendsTo(socket, "unix:///run/relay")
	away := relaytest.New(t)
	sendsTo(gone, away.URL())
	away.Stop()
	for _, tt := range []struct {
		name  string
		relay *relaytest.Relay
		exit  int
		says  string
		conf  moqt.Config
	}{
		{"five hops", chain(5), 76, "DOES_NOT_EXIST", moqt.Config{}}, // arrived
		{"six hops", chain(6), 76, "after 5 other places", moqt.Config{}},
		{"a loop", loop, 76, "from where we came", moqt.Config{}},
		{"nowhere else", itself, 76, "from where we came", moqt.Config{}},
		{"not encrypted", open, 77, "not encrypted", moqt.Config{}},
		{"a socket of this host", socket, 77, "on this host", moqt.Config{}},
		{"a relay that is not there", gone, 69, "sent to " + away.URL(), moqt.Config{HandshakeTimeout: 300 * time.Millisecond}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := client.Run(testContext(t), client.Config{
				Relay: tt.relay.URL(), TLS: anyRelay(tt.relay), RetryLost: -1, Session: tt.conf,
			}, func(ctx context.Context, sess *client.Session) error {
				_, err := sess.Subscribe(ctx, track, moqt.SubscribeOptions{})
				return err
			})
			if code(err) != tt.exit || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("exit code %d: %v", code(err), err)
			}
		})
	}
}

// After the relay that sent us on is lost, the place it sent us to is asked first.
func TestRedirectOutlivesItsRelay(t *testing.T) {
	a, b := relaytest.New(t), relaytest.New(t)
	sendsTo(a, b.URL())
	b.Put(track, object.Object{Group: 6, Payload: []byte("first")})
	n := 0
	err := client.Run(testContext(t), client.Config{Relay: a.URL(), TLS: anyRelay(a)}, func(ctx context.Context, sess *client.Session) error {
		sub, err := sess.Subscribe(ctx, track, moqt.SubscribeOptions{})
		if err != nil {
			return err
		}
		if got, err := payload(ctx, sub, b, uint64(7+n)); err != nil || got != "hello" {
			return fmt.Errorf("subscribed to %q: %w", got, err)
		}
		if n++; n == 2 {
			return nil
		}
		go a.Stop()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if err != nil || n != 2 || a.Sessions() != 1 {
		t.Errorf("%v after %d times, %d sessions", err, n, a.Sessions())
	}
}
