package transport

import (
	"context"
	"testing"
	"time"
)

// TestRestartedServer: a server that vanished without a word and is back with the same key says so to its clients.
func TestRestartedServer(t *testing.T) {
	o := &Options{Protocols: both, ResetKey: &[32]byte{1, 2, 3}}
	l, accepted, pin := listen(t, "127.0.0.1:0", o)
	addr := l.Addr().String()
	c, err := Dial(testContext(t), "moqt://"+addr, pin, o)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := oneWay(t, c, recv(t, accepted)) // both are set up

	l.(*quicListener).udp.Close() // as kill -9 would
	listen(t, addr, o)
	began := time.Now()
	out.Write(make([]byte, 1000)) // a packet that the new server knows nothing of, and long enough for an answer
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
	cert, pin := selfSigned(t)
	o := &Options{Protocols: both}
	l, err := Listen("127.0.0.1:0", ServerTLS(cert), o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	took := make(chan error, 1)
	go func() { // the first one; until then nothing is accepted at all
		_, err := l.Accept(ctx)
		took <- err
	}()
	const crowd = 100
	for range crowd + 1 {
		c, err := Dial(ctx, "moqt://"+l.Addr().String(), pin, o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
	}
	if err := recv(t, took); err != nil {
		t.Fatal(err)
	}
	for n := range crowd {
		c, err := l.Accept(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		if err := c.Context().Err(); err != nil {
			t.Fatalf("connection %d is over: %v", n, err)
		}
	}
}
