package repair

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// TestBroadcast: a programme of 8 Mbit/s is in time on paths on which QUIC alone carries less than that.
func TestBroadcast(t *testing.T) {
	for _, tt := range []struct {
		name   string
		w      way
		within time.Duration // all but 1 of 100
	}{
		{"no loss", way{delay: 20 * time.Millisecond}, 60 * time.Millisecond},
		{"1 %", way{delay: 20 * time.Millisecond, loss: 0.01}, 120 * time.Millisecond},
		{"10 %", way{delay: 20 * time.Millisecond, loss: 0.1}, 200 * time.Millisecond},
		{"5 % in bursts", way{delay: 20 * time.Millisecond, loss: 0.05, burst: 4}, 400 * time.Millisecond},
		{"a quarter out of order", way{delay: 20 * time.Millisecond, reorder: 0.25}, 120 * time.Millisecond},
		{"5 %, far away", way{delay: 100 * time.Millisecond, loss: 0.05}, 300 * time.Millisecond},
		{"1 %, near", way{delay: time.Millisecond, loss: 0.01}, 100 * time.Millisecond},
	} {
		for _, down := range []bool{false, true} {
			name := tt.name + ", up"
			if down {
				name = tt.name + ", down"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					forth, back := tt.w, tt.w
					l := newLab(t, &forth, &back, 5)
					server, client := newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
					c, s := connect(t, client, server)
					time.Sleep(2 * tt.w.delay)
					from, to := c, s
					if down {
						from, to = s, c
					}
					o := broadcast(t, from, to, programme{8_000_000, 100_000, 12 * time.Second})[30:]
					if o.quantile(0.99) > tt.within || o.within(time.Hour-1) < 1 {
						t.Errorf("%v, want within %v; %+v %+v", o, tt.within, client.layer.Stats(c.RemoteAddr()), server.layer.Stats(s.RemoteAddr()))
					}
					c.CloseWithError(0, "")
				})
			})
		}
	}
}

// TestCleanPath: where nothing is lost nothing is added but reports, and datagrams are QUIC's own.
func TestCleanPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := way{delay: time.Millisecond}, way{delay: time.Millisecond}
		var frames, all int
		up.tap = func(b []byte) {
			if all += len(b); isFrame(b) {
				frames += len(b)
			}
		}
		l := newLab(t, &up, &down, 1)
		server, client := newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
		c, s := connect(t, client, server)
		broadcast(t, c, s, programme{8_000_000, 100_000, 10 * time.Second})
		st := client.layer.Stats(c.RemoteAddr())
		if !st.Spoken || st.RTT < time.Millisecond || st.RTT > 10*time.Millisecond {
			t.Errorf("%+v", st)
		}
		if st.Sent > 0 || st.Parity > 0 || frames*200 > all {
			t.Errorf("%d bytes of %d are in frames; %+v", frames, all, st)
		}
		c.CloseWithError(0, "")
	})
}

// TestForeign: with a peer that has no such layer everything is as without, on either side.
func TestForeign(t *testing.T) {
	for _, ours := range []string{"client", "server"} {
		t.Run(ours, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down := way{delay: 20 * time.Millisecond}, way{delay: 20 * time.Millisecond}
				frames := 0
				up.tap = func(b []byte) {
					if isFrame(b) {
						frames += len(b)
					}
				}
				down.tap = up.tap
				l := newLab(t, &up, &down, 1)
				server := newEnd(t, l, 1, ours == "server", Options{Accept: true})
				client := newEnd(t, l, 2, ours == "client", Options{})
				began := time.Now()
				c, s := connect(t, client, server)
				if d := time.Since(began); d > 60*time.Millisecond {
					t.Errorf("both ends are connected after %v, want one and a half round trips", d)
				}
				o := broadcast(t, c, s, programme{8_000_000, 100_000, 5 * time.Second})
				if o.within(400*time.Millisecond) < 1 {
					t.Error(o)
				}
				if most := helloLen * len(helloAt); frames > most {
					t.Errorf("%d bytes of frames, want at most %d", frames, most)
				}
				c.CloseWithError(0, "")
			})
		})
	}
}

// carry sends some bytes from one end to the other and back.
func carry(t testing.TB, c, s *quic.Conn, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, d := range [][2]*quic.Conn{{c, s}, {s, c}} {
		want := bytes.Repeat([]byte{7}, n)
		go func() {
			if st, err := d[0].OpenUniStreamSync(ctx); err == nil {
				st.Write(want)
				st.Close()
			}
		}()
		st, err := d[1].AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st.SetReadDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(st); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
}

// lossy is a pair of ends on a path with loss on which datagrams have numbers.
func lossy(t *testing.T, loss float64) (l *lab, client, server *end, c, s *quic.Conn) {
	up, down := &way{delay: 20 * time.Millisecond, loss: loss}, &way{delay: 20 * time.Millisecond, loss: loss}
	l = newLab(t, up, down, 3)
	server, client = newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
	c, s = connect(t, client, server)
	time.Sleep(100 * time.Millisecond)
	broadcast(t, c, s, programme{8_000_000, 100_000, 5 * time.Second})
	if st := client.layer.Stats(c.RemoteAddr()); !st.Active {
		t.Fatalf("not active: %+v", st)
	}
	t.Cleanup(func() { c.CloseWithError(0, "") })
	return l, client, server, c, s
}

// TestRebinding: a path whose client's address changes goes on, repaired, at the new address.
func TestRebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server, c, s := lossy(t, 0.03)
		before := server.layer.Stats(s.RemoteAddr())
		client.socket.move(77)
		carry(t, c, s, 1_000_000)
		o := broadcast(t, c, s, programme{8_000_000, 100_000, 5 * time.Second})
		if o.quantile(0.9) > 300*time.Millisecond {
			t.Error(o)
		}
		st := server.layer.Stats(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 77})
		if !st.Spoken || st.Missing <= before.Missing || s.RemoteAddr().(*net.UDPAddr).Port != 77 {
			t.Errorf("%v: %+v, before %+v", s.RemoteAddr(), st, before)
		}
	})
}

// TestRestarted: a server that was started again, and knows nothing of the path, gets what is in the frames, so that QUIC can say so.
func TestRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, server, c, _ := lossy(t, 0.03)
		server.socket.Close()
		again := newEnd(t, l, 1, true, Options{Accept: true})
		got := 0
		l.mu.Lock()
		old := l.sockets[again.socket.addr]
		l.mu.Unlock()
		if old != again.socket {
			t.Fatal("the port is not the new server's")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := make([]byte, 2000)
			again.layer.SetReadDeadline(time.Now().Add(3 * time.Second))
			for {
				n, from, err := again.layer.ReadFrom(b)
				if err != nil {
					return
				}
				if from.(*net.UDPAddr).Port == 2 && b[0]&0x40 != 0 && n > 1000 {
					got++
				}
			}
		}()
		st, err := c.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		st.SetWriteDeadline(time.Now().Add(2 * time.Second))
		st.Write(make([]byte, 1_000_000))
		<-done
		if got == 0 {
			t.Errorf("nothing of QUIC came; %+v", client.layer.Stats(c.RemoteAddr()))
		}
	})
}

// TestBreaker: where a programme does not fit, nothing is hidden any more, and a neighbour without the layer is not starved.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &way{delay: 20 * time.Millisecond, rate: 6_000_000, queue: 60 * time.Millisecond}
		l := newLab(t, up, &way{delay: 20 * time.Millisecond}, 1)
		server, client := newEnd(t, l, 1, true, Options{Accept: true}), newEnd(t, l, 2, true, Options{})
		c, s := connect(t, client, server)
		time.Sleep(50 * time.Millisecond)
		broadcast(t, c, s, programme{8_000_000, 100_000, 20 * time.Second})
		if st := client.layer.Stats(c.RemoteAddr()); st.Breaks == 0 {
			t.Errorf("%+v", st)
		}
		c.CloseWithError(0, "")
	})
}

// TestSilence: a path that was cut comes back.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _, c, s := lossy(t, 0.03)
		l.mu.Lock()
		was := l.way
		l.way = nowhere
		l.mu.Unlock()
		time.Sleep(10 * time.Second)
		l.mu.Lock()
		l.way = was
		l.mu.Unlock()
		carry(t, c, s, 1_000_000)
		if o := broadcast(t, c, s, programme{8_000_000, 100_000, 8 * time.Second})[30:]; o.quantile(0.9) > 300*time.Millisecond {
			t.Error(o)
		}
	})
}
