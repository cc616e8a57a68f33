package repair

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// end is QUIC on a socket of a lab, with or without the layer.
type end struct {
	socket *labSocket
	layer  *Conn // nil: none
	tr     *quic.Transport

	listener *quic.Listener // to which it connected
}

func newEnd(t testing.TB, l *lab, port uint16, layer bool, o Options) *end {
	e := &end{socket: l.socket(port)}
	var low net.PacketConn
	if layer {
		var err error
		if e.layer, err = New(e.socket, o); err != nil {
			t.Fatal(err)
		}
		low = e.layer.PacketConn()
	} else {
		low = plain{e.socket}
	}
	e.tr = &quic.Transport{Conn: low}
	t.Cleanup(func() {
		e.tr.Close()
		low.Close()
	})
	return e
}

// plain is a socket of a lab without the layer.
type plain struct{ *labSocket }

func (p plain) ReadFrom(b []byte) (int, net.Addr, error) {
	d, _, from, err := p.ReadDatagram()
	return copy(b, d), from, err
}

func (p plain) WriteTo(b []byte, to net.Addr) (int, error) {
	n, _, err := p.WriteMsgUDP(b, nil, to.(*net.UDPAddr))
	return n, err
}
func (p plain) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

func certificate(t testing.TB) *tls.Config {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, priv)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: priv}}, NextProtos: []string{"lab"}}
}

func quicConf() *quic.Config {
	return &quic.Config{
		MaxIncomingUniStreams: 1 << 20, InitialStreamReceiveWindow: 1 << 20, InitialConnectionReceiveWindow: 4 << 20, MaxConnectionReceiveWindow: 32 << 20,
		HandshakeIdleTimeout: 20 * time.Second, MaxIdleTimeout: 30 * time.Second,
	}
}

// connect makes a connection between two ends.
func connect(t testing.TB, client, server *end) (c, s *quic.Conn) {
	t.Helper()
	l, err := server.tr.Listen(certificate(t), quicConf())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	to := server.socket.LocalAddr().(*net.UDPAddr)
	if client.layer != nil {
		if err := client.layer.Offer(to); err != nil {
			t.Fatal(err)
		}
	}
	client.listener = l
	return reconnect(t, client, server)
}

// reconnect makes another connection.
func reconnect(t testing.TB, client, server *end) (c, s *quic.Conn) {
	t.Helper()
	c, err := client.tr.Dial(context.Background(), server.socket.LocalAddr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"lab"}}, quicConf())
	if err != nil {
		t.Fatal(err)
	}
	if s, err = client.listener.Accept(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// programme is a broadcast: objects of size bytes, as many a second as its rate asks for.
type programme struct {
	rate, size int
	last       time.Duration
}

// outcome is how late the last byte of each object was; what never came is an hour late.
type outcome []time.Duration

func (o outcome) within(d time.Duration) float64 {
	n := 0
	for _, l := range o {
		if l <= d {
			n++
		}
	}
	return float64(n) / float64(len(o))
}

func (o outcome) quantile(q float64) time.Duration {
	s := slices.Clone(o)
	slices.Sort(s)
	return s[int(q*float64(len(s)-1))]
}

func (o outcome) String() string {
	return fmt.Sprintf("%.3f within 0.4 s, %.3f within 1 s, p50 %4d ms, p99 %4d ms", o.within(400*time.Millisecond), o.within(time.Second),
		o.quantile(0.5).Milliseconds(), o.quantile(0.99).Milliseconds())
}

// broadcast sends a programme from one end of a connection to the other; each object is a stream.
func broadcast(t testing.TB, from, to *quic.Conn, p programme) outcome {
	every := time.Duration(float64(p.size*8) / float64(p.rate) * float64(time.Second))
	n := int(p.last / every)
	late := make(outcome, n)
	for i := range late {
		late[i] = time.Hour
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), p.last+5*time.Second)
	defer cancel()
	var mu sync.Mutex
	var reading, writing sync.WaitGroup
	var all sync.WaitGroup
	all.Go(func() {
		for range n {
			st, err := to.AcceptUniStream(ctx)
			if err != nil {
				return
			}
			reading.Go(func() {
				st.SetReadDeadline(start.Add(p.last + 5*time.Second))
				b, err := io.ReadAll(st)
				if err != nil || len(b) != p.size {
					return
				}
				i := int(binary.BigEndian.Uint32(b))
				mu.Lock()
				late[i] = time.Since(start.Add(time.Duration(i) * every))
				mu.Unlock()
			})
		}
	})
	for i := range n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * every)))
		writing.Go(func() {
			st, err := from.OpenUniStreamSync(ctx)
			if err != nil {
				return
			}
			st.SetWriteDeadline(time.Now().Add(3 * time.Second))
			b := make([]byte, p.size)
			binary.BigEndian.PutUint32(b, uint32(i))
			if _, err := st.Write(b); err != nil {
				st.CancelWrite(1)
				return
			}
			st.Close()
		})
	}
	writing.Wait()
	all.Wait()
	reading.Wait()
	return late
}
