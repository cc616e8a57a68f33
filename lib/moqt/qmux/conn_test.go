package qmux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks make both ends of a connection.
var networks = map[string]func(t testing.TB) (client, server net.Conn){
	"pipe": func(testing.TB) (client, server net.Conn) { return net.Pipe() },
	"unix": func(t testing.TB) (client, server net.Conn) {
		return socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
	},
	"tcp": func(t testing.TB) (client, server net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") },
}

func socketPair(t testing.TB, network, addr string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pair connects two Conns and closes them with the test.
func pair(t testing.TB, a, b net.Conn, ca, cb Config) (client, server *Conn) {
	t.Helper()
	made := make(chan *Conn, 1)
	go func() {
		s, err := Server(context.Background(), Bytes(b), cb)
		if err != nil {
			t.Error(err)
		}
		made <- s
	}()
	client, err := Client(context.Background(), Bytes(a), ca)
	if err != nil {
		t.Fatal(err)
	}
	server = <-made
	if server == nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		client.CloseWithError(0, "")
		server.CloseWithError(0, "")
	})
	return client, server
}

func onEveryNetwork(t *testing.T, ca, cb Config, test func(t *testing.T, ctx context.Context, client, server *Conn)) {
	for name, connect := range networks {
		t.Run(name, func(t *testing.T) {
			a, b := connect(t)
			client, server := pair(t, a, b, ca, cb)
			test(t, testContext(t), client, server)
		})
	}
}

func pattern(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// TestStreams: many streams of both kinds, both ways, of all sizes, arrive byte for byte and end with FIN, while small
// windows and few streams at a time make them wait for credit.
func TestStreams(t *testing.T) {
	// Echoes in both directions that share a window smaller than that of all their streams would wait for each other.
	small := Config{MaxStreams: 5, StreamWindow: 20_000, Window: 250_000}
	onEveryNetwork(t, small, small, func(t *testing.T, ctx context.Context, client, server *Conn) {
		sizes := []int{0, 1, 100, smallWrite, smallWrite + 1, 16_382, 70_000, 300_000}
		const rounds = 3
		var all sync.WaitGroup
		for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
			all.Go(func() {
				for i := range rounds * len(sizes) {
					st, err := ends[0].OpenUniStream(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					all.Go(func() {
						b := pattern(sizes[i%len(sizes)], uint64(i))
						for len(b) > 0 { // pieces of all sizes
							n := min(len(b), 1+len(b)/3)
							if _, err := st.Write(b[:n]); err != nil {
								t.Error(err)
							}
							b = b[n:]
						}
						if err := st.Close(); err != nil {
							t.Error(err)
						}
					})
				}
			})
			all.Go(func() {
				for range rounds * len(sizes) {
					st, err := ends[1].AcceptUniStream(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					all.Go(func() {
						i := int(st.ID() >> 2)
						b, err := io.ReadAll(st)
						if err != nil || !bytes.Equal(b, pattern(sizes[i%len(sizes)], uint64(i))) {
							t.Errorf("stream %d: %d bytes, %v", st.ID(), len(b), err)
						}
					})
				}
			})
			all.Go(func() { // echo
				for range rounds * len(sizes) {
					st, err := ends[1].AcceptStream(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					all.Go(func() {
						if _, err := io.Copy(st, st); err != nil {
							t.Error(err)
						}
						st.Close()
					})
				}
			})
			all.Go(func() {
				for i := range rounds * len(sizes) {
					st, err := ends[0].OpenStream(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					all.Go(func() {
						want := pattern(sizes[i%len(sizes)], uint64(i))
						go func() {
							st.Write(want)
							st.Close()
						}()
						if b, err := io.ReadAll(st); err != nil || !bytes.Equal(b, want) {
							t.Errorf("echo %d: %d bytes, %v", st.ID(), len(b), err)
						}
					})
				}
			})
		}
		all.Wait()
		for _, c := range []*Conn{client, server} {
			c.mu.Lock()
			if len(c.streams) > 0 {
				t.Errorf("%d streams remain", len(c.streams))
			}
			c.mu.Unlock()
		}
	})
}

// TestResetAndStop: RESET_STREAM and STOP_SENDING with their codes; what arrived before a reset is read first.
func TestResetAndStop(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		w, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("header"))
		w.SetReliableBoundary()
		w.CancelWrite(7)
		if _, err := w.Write([]byte("x")); !isReset(err, 7, false) {
			t.Errorf("write after reset: %v", err)
		}
		r, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != "header" || !isReset(err, 7, true) {
			t.Errorf("read %q, %v", b, err)
		}

		w, err = client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("a"))
		if r, err = server.AcceptUniStream(ctx); err != nil {
			t.Fatal(err)
		}
		r.CancelRead(9)
		<-w.Context().Done()
		if err := context.Cause(w.Context()); !isReset(err, 9, true) {
			t.Errorf("context: %v", err)
		}
		if _, err := w.Write(make([]byte, 100_000)); !isReset(err, 9, true) {
			t.Errorf("write after STOP_SENDING: %v", err)
		}
		if _, err := r.Read(make([]byte, 1)); !isReset(err, 9, false) {
			t.Errorf("read after cancel: %v", err)
		}
	})
}

func isReset(err error, code uint64, remote bool) bool {
	e, ok := errors.AsType[*StreamError](err)
	return ok && e.Code == code && e.Remote == remote
}

// TestSlowReader: a stream nobody reads holds its writer back at its window and no other stream; a write deadline ends the
// wait, the bytes written count, and all of it arrives when it is read.
func TestSlowReader(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{StreamWindow: 100_000}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		slow, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		slow.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		want := pattern(1_000_000, 1)
		n, err := slow.Write(want)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n != 100_000 {
			t.Fatalf("wrote %d, %v", n, err)
		}
		quick, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		quick.Write([]byte("quick"))
		quick.Close()
		first, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		second, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(second); string(b) != "quick" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		second.SetReadDeadline(time.Now().Add(-time.Second))
		slow.SetWriteDeadline(time.Time{})
		go func() {
			slow.Write(want[n:])
			slow.Close()
		}()
		if b, err := io.ReadAll(first); !bytes.Equal(b, want) || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
}

// TestConnectionWindow: what all streams together hold is bounded, and cancelling one frees its share.
func TestConnectionWindow(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{StreamWindow: 100_000, Window: 100_000}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		full, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		full.Write(make([]byte, 100_000))
		next, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next.SetWriteDeadline(time.Now().Add(30 * time.Millisecond))
		if n, err := next.Write(make([]byte, 50_000)); n != 0 || err == nil {
			t.Errorf("wrote %d bytes over the window, %v", n, err)
		}
		next.SetWriteDeadline(time.Time{})
		st, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st.CancelRead(1)
		if n, err := next.Write(make([]byte, 50_000)); n != 50_000 || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
}

// TestDatagrams: they arrive whole; one too large is dropped; of too many the newest stay.
func TestDatagrams(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{MaxDatagrams: 4}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		for _, size := range []int{0, 1, 1200, 60_000} {
			want := pattern(size, 3)
			client.SendDatagram(make([]byte, maxRecord))
			if err := client.SendDatagram(want); err != nil {
				t.Fatal(err)
			}
			if b, err := server.ReceiveDatagram(ctx); err != nil || !bytes.Equal(b, want) {
				t.Fatalf("%d bytes, %v, want %d", len(b), err, size)
			}
		}
		for i := range 50 {
			server.mu.Lock()
			server.datagrams.push([]byte{byte(i)})
			server.mu.Unlock()
		}
		for i := range 4 {
			if b, err := server.ReceiveDatagram(ctx); err != nil || b[0] != byte(46+i) {
				t.Errorf("got %v, %v", b, err)
			}
		}
	})
}

// TestClose: the peer learns code and reason, everything that waits on either side ends with them.
func TestClose(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		w, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
		r, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 4)
		go func() { _, err := io.Copy(io.Discard, r); ended <- err }()
		go func() { _, err := server.AcceptStream(ctx); ended <- err }()
		go func() { _, err := server.ReceiveDatagram(ctx); ended <- err }()
		go func() { <-server.Context().Done(); ended <- context.Cause(server.Context()) }()
		client.CloseWithError(42, "enough")
		for range 4 {
			e, ok := errors.AsType[*ApplicationError](<-ended)
			if !ok || e.Code != 42 || e.Reason != "enough" || !e.Remote {
				t.Errorf("ended with %v", e)
			}
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("write on a closed connection")
		}
	})
}

// TestProtocol: the server's preference decides; without one in common, or without any from a peer that was asked, nobody
// gets a connection.
func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		client, server []string
		want           string
	}{
		{[]string{"a", "b"}, []string{"b", "a"}, "b"},
		{[]string{"a"}, []string{"b", "a"}, "a"},
		{nil, nil, ""},
		{[]string{"a"}, []string{"b"}, "refused"},
		{[]string{"a"}, nil, "refused"},
	} {
		a, b := net.Pipe()
		got := make(chan string, 2)
		end := func(c *Conn, err error) {
			if err != nil {
				if e, ok := errors.AsType[*TransportError](err); !ok || e.Code != NoApplicationProtocol {
					t.Errorf("%v/%v: %v", tt.client, tt.server, err)
				}
				got <- "refused"
				return
			}
			got <- c.Protocol()
			if tt.want == "refused" { // its peer refuses
				<-c.Context().Done()
			}
			c.CloseWithError(0, "")
		}
		go func() { end(Server(context.Background(), Bytes(b), Config{Protocols: tt.server})) }()
		go func() { end(Client(context.Background(), Bytes(a), Config{Protocols: tt.client})) }()
		first, second := <-got, <-got
		if tt.want == "refused" && (first == tt.want || second == tt.want) {
			continue
		}
		if first != tt.want || second != tt.want {
			t.Errorf("%v/%v: %q and %q, want %q", tt.client, tt.server, first, second, tt.want)
		}
	}
}

// TestTimers: pings keep a connection alive; one whose peer says nothing ends, also before its parameters came, and so
// does one whose peer does not read.
func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, server := pair(t, a, b, Config{}, Config{})
		time.Sleep(10 * time.Minute)
		if client.ctx.Err() != nil || server.ctx.Err() != nil {
			t.Errorf("idle connections ended: %v, %v", context.Cause(client.ctx), context.Cause(server.ctx))
		}
		client.CloseWithError(0, "")
	})
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go io.Copy(io.Discard, b) // reads and says nothing
		start := time.Now()
		if _, err := Client(context.Background(), Bytes(a), Config{}); !errors.Is(err, ErrHandshake) || time.Since(start) != 10*time.Second {
			t.Errorf("silent peer: %v after %v", err, time.Since(start))
		}
	})
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			go func() {
				p := parameters{maxRecordSize: defaultMaxRecordSize, maxIdleTimeout: 6000}
				Bytes(b).WriteRecord(p.append(make([]byte, Headroom)))
				if reads {
					io.Copy(io.Discard, b)
				}
			}()
			if !reads { // only our own parameters
				go b.Read(make([]byte, 4096))
			}
			start := time.Now()
			c, err := Client(context.Background(), Bytes(a), Config{})
			if err != nil {
				t.Fatal(err)
			}
			<-c.ctx.Done()
			if took := time.Since(start); context.Cause(c.ctx) != ErrIdle || took < 6*time.Second || took > 20*time.Second {
				t.Errorf("reads %v: %v after %v", reads, context.Cause(c.ctx), took)
			}
			c.CloseWithError(0, "")
			b.Close()
		})
	}
}

// TestUrgency: what waits leaves by urgency, streams of one urgency by order of opening, incremental ones in turns.
func TestUrgency(t *testing.T) {
	a, b := net.Pipe()
	client, _ := pair(t, a, b, Config{}, Config{})
	ctx := testContext(t)
	type stream struct {
		urgency     int8
		incremental bool
	}
	var got []int
	var opened []*Stream
	for _, s := range []stream{{5, false}, {1, false}, {1, false}, {6, true}, {6, true}, {0, false}} {
		st, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st.SetPriority(s.urgency, s.incremental)
		opened = append(opened, st)
	}
	client.mu.Lock()
	defer client.mu.Unlock()
	for _, i := range []int{4, 3, 2, 1, 0, 5} { // in any order
		opened[i].send.current = make([]byte, 25_000)
		opened[i].schedule()
	}
	for len(got) < 12 { // records of 16 KiB, so each stream needs two
		st := client.pick()
		if st == nil {
			break
		}
		for i := range opened {
			if opened[i] == st {
				got = append(got, i)
			}
		}
		st.fillData(make([]byte, Headroom, Headroom+defaultMaxRecordSize))
	}
	if want := "[5 5 1 1 2 2 0 0 4 3 4 3]"; fmt.Sprint(got) != want {
		t.Errorf("sent in order %v, want %v", got, want)
	}
	for _, st := range opened { // nobody writes these
		st.send.current, st.send.over = nil, true
	}
}
