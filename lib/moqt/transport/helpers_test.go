package transport

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both are the names of protocols that most tests offer: "one" first.
var both = []string{"one", "two"}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func recv[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func done(t testing.TB, ctx context.Context) error {
	t.Helper()
	recv(t, ctx.Done())
	return context.Cause(ctx)
}

// selfSigned is a certificate and what trusts it.
func selfSigned(t testing.TB) (cert tls.Certificate, pin *tls.Config) {
	t.Helper()
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if pin, err = PinFingerprint(Fingerprint(cert)); err != nil {
		t.Fatal(err)
	}
	return cert, pin
}

// listen listens at an address of Listen for what comes until the test is over; accepted hands out up to 64 connections, more are
// accepted and left alone.
func listen(t testing.TB, addr string, o *Options) (l Listener, accepted <-chan Conn, pin *tls.Config) {
	t.Helper()
	cert, pin := selfSigned(t)
	l, err := Listen(addr, ServerTLS(cert), o)
	if err != nil {
		t.Fatal(err)
	}
	conns, over := make(chan Conn, 64), make(chan struct{})
	go func() {
		defer close(over)
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			select {
			case conns <- c:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-over
	})
	return l, conns, pin
}

// schemes are those of the addresses that Dial takes.
var schemes = []string{"moqt", "https", "unix", "tcp", "ws", "wss"}

// pair makes a connection of two ends over the transport that a scheme names.
func pair(t testing.TB, scheme string, client, server *Options) (c, s Conn) {
	t.Helper()
	at := scheme + "://127.0.0.1:0"
	switch scheme {
	case "unix":
		at = "unix://" + filepath.Join(t.TempDir(), "s")
	case "moqt", "https":
		at = "127.0.0.1:0"
	}
	l, accepted, pin := listen(t, at, server)
	to := l.Addr().String()
	if !strings.Contains(to, "://") {
		to = scheme + "://" + to
	}
	if scheme == "unix" {
		to += "?path=/room%3Fx=1"
	} else {
		to += "/room?x=1"
	}
	c, err := Dial(testContext(t), to, pin, client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseWithError(0, "") })
	return c, recv(t, accepted)
}
