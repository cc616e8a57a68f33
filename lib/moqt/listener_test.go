package moqt

import (
	"context"
	"testing"
	"time"
)

// TestRestartedServer: a server that vanished without a word and is back with the same key says so to its clients.
func TestRestartedServer(t *testing.T) {
	ctx := testContext(t)
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	conf := &Config{ResetKey: &[32]byte{1, 2, 3}}
	l, err := ListenQUIC("127.0.0.1:0", ServerTLS(cert), conf)
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	accepted := make(chan *Session, 1)
	go func() {
		s, err := l.Accept(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		run(t, s)
		accepted <- s
	}()
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	c, err := DialQUIC(ctx, "moqt://"+addr, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	recv(t, accepted)
	c.TrackStatus(ctx, testTrack) // both are set up

	l.udp.Close() // as kill -9 would
	again, err := ListenQUIC(addr, ServerTLS(cert), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	began := time.Now()
	c.TrackStatus(ctx, testTrack) // a packet that the new server knows nothing of
	done(t, c.Context())
	if d := time.Since(began); d > 5*time.Second { // silence is noticed after 30 s
		t.Errorf("noticed after %v", d)
	}
	l.Close()
}

// TestCrowdIsNotRefused: connections that come while nobody has time to accept them wait.
func TestCrowdIsNotRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cert, err := SelfSigned(time.Now(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenQUIC("127.0.0.1:0", ServerTLS(cert), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pin, err := PinFingerprint(Fingerprint(cert))
	if err != nil {
		t.Fatal(err)
	}
	took := make(chan error, 1)
	go func() { // the first one; until then nothing is accepted at all
		_, err := l.Accept(ctx)
		took <- err
	}()
	const crowd = 100
	for range crowd + 1 {
		c, err := dialConn(ctx, l.Addr().String(), clientTLS(pin, "localhost", "moqt-16"), quicConfig((*Config)(nil).withDefaults()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
	}
	if err := recv(t, took); err != nil {
		t.Fatal(err)
	}
	for n := range crowd {
		s, err := l.Accept(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		if err := s.conn.Context().Err(); err != nil {
			t.Fatalf("connection %d is over: %v", n, err)
		}
	}
}
