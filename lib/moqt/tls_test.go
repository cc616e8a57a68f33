package moqt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt/wire"
)

func TestPinnedFingerprint(t *testing.T) {
	for _, bad := range []string{"", "abcd", strings.Repeat("zz", 32)} {
		if _, err := PinFingerprint(bad); err == nil {
			t.Errorf("fingerprint %q", bad)
		}
	}
	ctx := testContext(t)
	cert, _ := SelfSigned(time.Now(), "somewhere.else")
	other, _ := SelfSigned(time.Now(), "localhost")
	expired, _ := SelfSigned(time.Now().Add(-30*24*time.Hour), "localhost")
	for _, tt := range []struct {
		name   string
		server tls.Certificate
		pin    string
		want   error
		ok     bool
	}{
		{"the one pinned, whatever its name", cert, strings.ToUpper(Fingerprint(cert)), nil, true},
		{"another one", other, Fingerprint(cert), ErrFingerprint, false},
		{"expired", expired, Fingerprint(expired), nil, false},
		{"the key pinned, whatever its certificate", expired, keys.OfKey(expired.Leaf).String(), nil, true},
	} {
		l, err := ListenQUIC("127.0.0.1:0", ServerTLS(tt.server), nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				s, err := l.Accept(ctx)
				if err != nil {
					return
				}
				run(t, s)
			}
		}()
		pin, err := PinFingerprint(tt.pin)
		if err != nil {
			t.Fatal(err)
		}
		c, err := DialQUIC(ctx, "moqt://"+l.Addr().String(), pin, nil)
		if (err == nil) != tt.ok || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if c != nil {
			run(t, c)
		}
		l.Close()
	}
}

func TestDialErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	for _, bad := range []string{"", "http://localhost", "moqt://", "moqt:///path", "moqt://host:port", "relay:4443"} {
		if _, err := DialQUIC(ctx, bad, nil, nil); err == nil {
			t.Errorf("%q dials", bad)
		}
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := DialQUIC(ctx, "moqt://"+silent.LocalAddr().String(), nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestForeignALPNIsRefused: no common draft, no session.
func TestForeignALPNIsRefused(t *testing.T) {
	ctx := testContext(t)
	cert, _ := SelfSigned(time.Now(), "localhost")
	l, err := ListenQUIC("127.0.0.1:0", ServerTLS(cert), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"moq-00"}}, &quic.Config{EnableDatagrams: true})
	var te *quic.TransportError
	if !errors.As(err, &te) || !te.ErrorCode.IsCryptoError() {
		t.Errorf("moq-00: %v", err)
	}
	// A client without datagrams shares the ALPN and still cannot be a peer (§3.1).
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept(ctx)
		accepted <- err
	}()
	qc, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{wire.Draft16.ALPN()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var app *quic.ApplicationError
	if err := done(t, qc.Context()); !errors.As(err, &app) || app.ErrorCode != quic.ApplicationErrorCode(wire.ProtocolViolation) {
		t.Errorf("without datagrams: %v", err)
	}
	l.Close()
	if err := recv(t, accepted); err != ErrClosed {
		t.Errorf("Accept: %v", err)
	}
}
