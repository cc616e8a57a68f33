package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"every.channel/ec/lib/moqt/wire"
)

// onEach runs a test over every transport, in memory too.
func onEach(t *testing.T, test func(t *testing.T, scheme string, c, s Conn)) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			c, s := pair(t, scheme, &Options{Protocols: both}, &Options{Protocols: []string{"two", "three"}})
			test(t, scheme, c, s)
		})
	}
	t.Run("memory", func(t *testing.T) {
		c, s := Pipe(PipeOptions{Protocol: "two"})
		defer c.CloseWithError(0, "")
		test(t, "memory", c, s)
	})
}

// TestInfo: both ends know which protocol they have in common, what they run over, and where the client wanted to if HTTP or the address
// says so.
func TestInfo(t *testing.T) {
	onEach(t, func(t *testing.T, scheme string, c, s Conn) {
		network := scheme
		switch scheme {
		case "moqt":
			network = "quic"
		case "https":
			network = "webtransport"
		case "ws", "wss":
			network = "websocket"
		}
		native := network != "webtransport" && network != "websocket"
		for side, i := range map[string]Info{"client": c.Info(), "server": s.Info()} {
			if i.Protocol != "two" || i.Network != network || i.Native != native {
				t.Errorf("%s: %+v", side, i)
			}
			if (i.Socket != nil) != (network == "unix" || network == "tcp") {
				t.Errorf("%s: socket %v", side, i.Socket)
			}
			if (i.PeerCertificate != nil) != (network == "quic" && side == "client") {
				t.Errorf("%s: certificate %v", side, i.PeerCertificate)
			}
			path, authority := "", ""
			if scheme != "memory" && (side == "client" || !native) {
				path = "/room?x=1"
				if scheme != "unix" {
					authority = c.RemoteAddr().String()
				}
			}
			if i.Path != path || i.Authority != authority {
				t.Errorf("%s: to %q at %q, want %q at %q", side, i.Path, i.Authority, path, authority)
			}
		}
	})
}

// TestStreams: bytes and FIN arrive in both directions, RESET_STREAM and STOP_SENDING with their code, and datagrams.
func TestStreams(t *testing.T) {
	onEach(t, func(t *testing.T, _ string, c, s Conn) {
		ctx := testContext(t)
		payload := bytes.Repeat([]byte("payload"), 20_000)
		for _, end := range [][2]Conn{{c, s}, {s, c}} {
			from, to := end[0], end[1]
			asked, err := from.OpenStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				asked.Write(payload)
				asked.Close()
			}()
			got, err := to.AcceptStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(got); err != nil || !bytes.Equal(b, payload) {
				t.Fatalf("%d bytes of %d, %v", len(b), len(payload), err)
			}
			go func() {
				got.Write([]byte("answer"))
				got.Close()
			}()
			if b, err := io.ReadAll(asked); err != nil || string(b) != "answer" {
				t.Fatalf("%q, %v", b, err)
			}

			out, in := oneWay(t, from, to)
			out.CancelWrite(wire.ResetDeliveryTimeout)
			var reset *StreamResetError
			if _, err := io.ReadAll(in); !errors.As(err, &reset) || *reset != (StreamResetError{wire.ResetDeliveryTimeout, true}) {
				t.Errorf("reset: %v", err)
			}
			out, in = oneWay(t, from, to)
			in.CancelRead(wire.ResetCancelled)
			done(t, out.Context())
			if _, err := out.Write([]byte("x")); !errors.As(err, &reset) || *reset != (StreamResetError{wire.ResetCancelled, true}) {
				t.Errorf("write after STOP_SENDING: %v", err)
			}

			if err := from.SendDatagram([]byte("datagram")); err != nil {
				t.Fatal(err)
			}
			if b, err := to.ReceiveDatagram(ctx); err != nil || string(b) != "datagram" {
				t.Errorf("datagram %q, %v", b, err)
			}
		}
	})
}

// oneWay opens a stream and writes one byte, which arrived.
func oneWay(t *testing.T, from, to Conn) (SendStream, ReceiveStream) {
	t.Helper()
	ctx := testContext(t)
	out, err := from.OpenUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	in, err := to.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// TestDeadlines: a write that the peer gives no credit for and a read of what never comes end with their deadline.
func TestDeadlines(t *testing.T) {
	onEach(t, func(t *testing.T, _ string, c, s Conn) {
		out, in := oneWay(t, c, s)
		out.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, want := 0, make([]byte, 64<<20)
		n, err := out.Write(want)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == len(want) {
			t.Errorf("wrote %d, %v", n, err)
		}
		other, from := oneWay(t, s, c)
		defer other.Close()
		from.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := from.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		in.CancelRead(wire.ResetCancelled)
	})
}

// TestCloseWithError: both sides learn code and reason, and so does who waits.
func TestCloseWithError(t *testing.T) {
	onEach(t, func(t *testing.T, _ string, c, s Conn) {
		waiting := make(chan error, 1)
		go func() {
			_, err := c.AcceptStream(context.Background())
			waiting <- err
		}()
		s.CloseWithError(wire.InternalError, "out of coffee")
		for err, remote := range map[error]bool{done(t, c.Context()): true, recv(t, waiting): true, done(t, s.Context()): false} {
			var se *SessionError
			if !errors.As(err, &se) || *se != (SessionError{wire.InternalError, "out of coffee", remote}) || !errors.Is(err, ErrClosed) {
				t.Errorf("remote %v: %v", remote, err)
			}
		}
		if _, err := s.OpenStream(testContext(t)); !errors.Is(err, ErrClosed) {
			t.Errorf("a stream after the end: %v", err)
		}
	})
}

// TestNothingInCommon: without a protocol in common there is no connection.
func TestNothingInCommon(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			at := map[string]string{"moqt": "127.0.0.1:0", "https": "127.0.0.1:0", "unix": "unix://" + t.TempDir() + "/s"}[scheme]
			if at == "" {
				at = scheme + "://127.0.0.1:0"
			}
			l, accepted, pin := listen(t, at, &Options{Protocols: both})
			to := l.Addr().String()
			if at == "127.0.0.1:0" {
				to = scheme + "://" + to
			}
			for _, offered := range [][]string{{"three"}, nil} {
				c, err := Dial(testContext(t), to, pin, &Options{Protocols: offered})
				if err == nil {
					t.Errorf("offering %v: agreed on %q", offered, c.Info().Protocol)
				}
			}
			select {
			case c := <-accepted:
				t.Errorf("accepted %+v", c.Info())
			default:
			}
		})
	}
}
