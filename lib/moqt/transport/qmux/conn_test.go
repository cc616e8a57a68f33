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
	"slices"
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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

// eventually waits until what is asked under the connection's lock is so. It looks again and again, because bytes go through real
// sockets here, and no event tells when they have filled.
func eventually(t testing.TB, ctx context.Context, c *Conn, what func() bool) {
	t.Helper()
	for {
		c.mu.Lock()
		ok := what()
		c.mu.Unlock()
		if ok {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("it did not come to that")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestStreams: many streams of both kinds, both ways, of all sizes, arrive byte for byte and end with FIN, while small
// windows and few streams at a time make them wait for credit.
func TestStreams(t *testing.T) {
	small := Config{MaxStreams: 5, StreamWindow: 40_000, SharedWindow: 100_000}
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
	const window = 96 << 10
	onEveryNetwork(t, Config{}, Config{StreamWindow: window}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		slow, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := pattern(1_000_000, 1)
		wrote := make(chan int, 1)
		go func() {
			n, err := slow.Write(want)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v", err)
			}
			wrote <- n
		}()
		eventually(t, ctx, client, func() bool { return slow.send.sent == window })
		slow.SetWriteDeadline(time.Now())
		n := <-wrote
		if n != window {
			t.Errorf("wrote %d", n)
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

// TestDeadlineWhileCopied: a write deadline that passes while a piece of the Write is being copied ends the wait behind the copy.
func TestDeadlineWhileCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, _ := pair(t, a, b, Config{}, Config{StreamWindow: 96 << 10})
		st, err := client.OpenUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := st.Write(pattern(1_000_000, 1))
			wrote <- err
		}()
		synctest.Wait() // it waits for credit
		client.mu.Lock()
		st.send.busy = true
		client.mu.Unlock()
		st.SetWriteDeadline(time.Now())
		synctest.Wait() // it has looked, and waits for the copy
		client.mu.Lock()
		st.copied(0)
		client.mu.Unlock()
		synctest.Wait()
		select {
		case err := <-wrote:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		default:
			t.Error("it waits on")
			client.CloseWithError(0, "")
		}
	})
}

// TestStreamsNobodyReads: as many streams as may be open but one, each filled by its writer and read by nobody, do not hold up
// the last one, and what waits stays within the bound.
func TestStreamsNobodyReads(t *testing.T) {
	for name, conf := range map[string]Config{
		"defaults":      {MaxStreams: 200},
		"little shared": {MaxStreams: 20, StreamWindow: 64 << 10, SharedWindow: 64 << 10},
		"none shared":   {MaxStreams: 20, SharedWindow: -1},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := networks["unix"](t)
			client, server := pair(t, a, b, Config{}, conf)
			ctx := testContext(t)
			var writers sync.WaitGroup
			var unread []*Stream
			for range conf.MaxStreams - 1 {
				st, err := client.OpenUniStream(ctx)
				if err != nil {
					t.Fatal(err)
				}
				unread = append(unread, st)
				writers.Go(func() { st.Write(make([]byte, 2<<20)) })
			}
			full := func() bool { // every one has used its credit, and the last of it has been taken in
				client.mu.Lock()
				sent := client.sent
				for _, st := range unread {
					if st.send.sent < st.send.max || st.send.max < firstWindow {
						client.mu.Unlock()
						return false
					}
				}
				client.mu.Unlock()
				server.mu.Lock()
				defer server.mu.Unlock()
				for _, st := range server.streams {
					if st.recv.received < st.recv.max {
						return false
					}
				}
				return server.received == sent
			}
			for !full() {
				if ctx.Err() != nil {
					t.Fatal("the streams did not fill")
				}
				time.Sleep(time.Millisecond) // bytes go through a real socket, as in eventually
			}
			server.mu.Lock()
			waits, most := server.received-server.consumed.Load(), server.conf.window()
			server.mu.Unlock()
			if waits > most {
				t.Errorf("%d bytes wait, more than %d", waits, most)
			}
			t.Logf("%d bytes wait to be read", waits)

			last, err := client.OpenUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := pattern(30<<20, 5) // more than the window of the connection
			writers.Go(func() {
				last.Write(want)
				last.Close()
			})
			var st *Stream
			for range conf.MaxStreams {
				if st, err = server.AcceptUniStream(ctx); err != nil {
					t.Fatal(err)
				}
			}
			st.SetReadDeadline(time.Now().Add(time.Minute))
			if b, err := io.ReadAll(st); err != nil || !bytes.Equal(b, want) {
				t.Errorf("the last stream: %d bytes, %v", len(b), err)
			}
			client.CloseWithError(0, "")
			writers.Wait()
		})
	}
}

// TestHalfAWindowUnread: a stream that holds half of what may wait does not end the credit of the others.
func TestHalfAWindowUnread(t *testing.T) {
	onEveryNetwork(t, Config{}, Config{MaxStreams: 2, StreamWindow: 100_000, SharedWindow: 200_000}, func(t *testing.T, ctx context.Context, client, server *Conn) {
		held, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.Write(make([]byte, 90_000)); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			st, err := client.OpenUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := pattern(1_000_000, uint64(i))
			go func() {
				st.Write(want)
				st.Close()
			}()
			if i == 0 {
				if _, err := server.AcceptUniStream(ctx); err != nil { // the held one
					t.Fatal(err)
				}
			}
			r, err := server.AcceptUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r.SetReadDeadline(time.Now().Add(time.Minute))
			if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want) {
				t.Fatalf("stream %d: %d bytes, %v", i, len(b), err)
			}
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

// deaf is a transport whose writes say io.EOF, once broken is closed.
type deaf struct {
	Transport
	broken chan struct{}
}

func (d *deaf) WriteRecord(b []byte) error {
	select {
	case <-d.broken:
		return io.EOF
	default:
		return d.Transport.WriteRecord(b)
	}
}

// serving begins the server's side of a connection; nil comes where that fails.
func serving(t *testing.T, ctx context.Context, c net.Conn) <-chan *Conn {
	made := make(chan *Conn, 1)
	go func() {
		s, err := Server(ctx, Bytes(c), Config{})
		if err != nil {
			t.Error(err)
		}
		made <- s
	}()
	return made
}

// TestFailedWriteEndsNoStream: a connection on which nothing can be written any more is lost, and its streams have not come to their end.
func TestFailedWriteEndsNoStream(t *testing.T) {
	a, b := networks["unix"](t)
	d, ctx := &deaf{Bytes(a), make(chan struct{})}, testContext(t)
	made := serving(t, ctx, b)
	client, err := Client(ctx, d, Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := <-made
	defer client.CloseWithError(0, "")
	defer server.CloseWithError(0, "")
	st, err := server.OpenUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	in, err := client.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	close(d.broken)
	if err := client.SendDatagram([]byte("so that it writes")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); errors.Is(err, io.EOF) || !errors.Is(err, ErrLost) {
		t.Errorf("a stream that was cut off ends with %v", err)
	}
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

// gate is a transport whose writer waits for leave before every record, and which notes the streams of STREAM frames.
type gate struct {
	Transport
	leave chan struct{}
	mu    sync.Mutex
	order []uint64
}

func (g *gate) WriteRecord(b []byte) error {
	<-g.leave
	g.mu.Lock()
	for rest := b[Headroom:]; len(rest) > 0; {
		f, r, err := parseFrame(rest)
		if err != nil {
			panic(err)
		}
		if rest = r; f.kind == frameStream && len(f.data) > 0 {
			g.order = append(g.order, f.stream>>2)
		}
	}
	g.mu.Unlock()
	return g.Transport.WriteRecord(b)
}

// TestUrgency: what waits leaves by urgency, streams of one urgency by order of opening, incremental ones in turns.
func TestUrgency(t *testing.T) {
	a, b := net.Pipe()
	g := &gate{Transport: Bytes(a), leave: make(chan struct{})}
	ctx := testContext(t)
	made := serving(t, ctx, b)
	go func() { g.leave <- struct{}{} }() // the parameters
	client, err := Client(ctx, g, Config{KeepAlive: -1})
	if err != nil {
		t.Fatal(err)
	}
	server := <-made
	if server == nil {
		t.FailNow()
	}
	client.mu.Lock()
	client.peer.maxRecordSize = defaultMaxRecordSize // so that a stream needs two records
	client.mu.Unlock()
	// The record that the writer waits with: all else is there before it may go.
	first, err := client.OpenUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first.Write([]byte("x"))
	eventually(t, ctx, client, func() bool { return first.send.sent == 1 })
	var writers sync.WaitGroup
	var opened []*Stream
	for _, s := range []struct {
		urgency     int8
		incremental bool
	}{{5, false}, {1, false}, {1, false}, {6, true}, {6, true}, {0, false}} {
		st, err := client.OpenUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st.send.max = 1 << 20 // guarded by nobody else yet
		st.SetPriority(s.urgency, s.incremental)
		opened = append(opened, st)
	}
	for _, i := range []int{4, 3, 2, 1, 0, 5} { // in another order
		writers.Go(func() { opened[i].Write(make([]byte, 25_000)) })
		eventually(t, ctx, client, func() bool { return opened[i].send.queued })
	}
	close(g.leave)
	writers.Wait()
	client.CloseWithError(0, "")
	server.CloseWithError(0, "")
	// Runs of the same stream are one: a record's room decides where a stream is cut.
	got := slices.Compact(g.order)
	if want := "[0 6 2 3 1 5 4 5 4]"; fmt.Sprint(got) != want {
		t.Errorf("sent in order %v, want %v", got, want)
	}
}
