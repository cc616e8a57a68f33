package transport

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
	ctx, o := testContext(t), &Options{Protocols: both}
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
		l, err := Listen("127.0.0.1:0", ServerTLS(tt.server), o)
		if err != nil {
			t.Fatal(err)
		}
		pin, err := PinFingerprint(tt.pin)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Dial(ctx, "moqt://"+l.Addr().String(), pin, o)
		if (err == nil) != tt.ok || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			c.CloseWithError(0, "")
		}
		l.Close()
	}
}

func TestDialErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	for _, bad := range []string{"", "http://localhost", "moqt://", "moqt:///path", "moqt://host:port", "relay:4443"} {
		if _, err := Dial(ctx, bad, nil, nil); err == nil {
			t.Errorf("%q dials", bad)
		}
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := Dial(ctx, "moqt://"+silent.LocalAddr().String(), nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestForeignALPNIsRefused: no protocol in common, no connection.
func TestForeignALPNIsRefused(t *testing.T) {
	ctx := testContext(t)
	cert, _ := SelfSigned(time.Now(), "localhost")
	l, err := Listen("127.0.0.1:0", ServerTLS(cert), &Options{Protocols: both})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"three"}}, &quic.Config{EnableDatagrams: true})
	var te *quic.TransportError
	if !errors.As(err, &te) || !te.ErrorCode.IsCryptoError() {
		t.Errorf("three: %v", err)
	}
	// A client without datagrams shares the ALPN and still cannot be a peer (§3.1).
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept(ctx)
		accepted <- err
	}()
	qc, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"two"}}, nil)
	if err == nil { // the refusal may come before the handshake is confirmed, and then it is what Dial returns
		err = done(t, qc.Context())
	}
	var app *quic.ApplicationError
	if !errors.As(err, &app) || app.ErrorCode != quic.ApplicationErrorCode(wire.ProtocolViolation) {
		t.Errorf("without datagrams: %v", err)
	}
	l.Close()
	if err := recv(t, accepted); err != ErrClosed {
		t.Errorf("Accept: %v", err)
	}
}
