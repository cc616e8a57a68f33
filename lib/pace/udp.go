package pace

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ts"
)

// AddressHelp lists the forms that Dial reads.
const AddressHelp = `  udp://239.1.2.3:1234       datagrams of seven packets; ?ttl=4&iface=eth0 for a multicast group
  rtp://192.0.2.7:5004       the same as RTP (RFC 2250), payload type 33`

// IsAddress tells whether s is an address for Dial, and no file.
func IsAddress(s string) bool {
	return strings.HasPrefix(s, "udp://") || strings.HasPrefix(s, "rtp://")
}

// Dial opens the address of a receiver. Each write is a datagram. Nobody needs to listen there.
func Dial(address string, log *slog.Logger) (io.WriteCloser, error) {
	wrong := func(format string, args ...any) error {
		return exit.With(exit.Usage, fmt.Errorf("address %q: %w", address, fmt.Errorf(format, args...)), "")
	}
	u, err := url.Parse(address)
	if err != nil || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return nil, wrong("want udp://HOST:PORT or rtp://HOST:PORT")
	}
	to, err := net.ResolveUDPAddr("udp", u.Host)
	if err != nil {
		return nil, wrong("%w", err)
	}
	if to.Port == 0 || to.IP == nil {
		return nil, wrong("want udp://HOST:PORT or rtp://HOST:PORT")
	}
	again := func() (*net.UDPConn, error) { return socket(to, u.Query()) }
	c, err := again()
	if opt := (*optionError)(nil); errors.As(err, &opt) {
		return nil, wrong("%w", opt.error)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	d := &datagrams{c: c, log: log.With("address", address), again: again}
	if u.Scheme == "rtp" {
		d.rtp = newRTP()
	}
	return d, nil
}

// optionError says that an option of an address is wrong, or cannot be had here.
type optionError struct{ error }

// socket opens a socket that sends to an address.
func socket(to *net.UDPAddr, q url.Values) (*net.UDPConn, error) {
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return nil, err
	}
	if err := options(c, to, q); err != nil {
		c.Close()
		return nil, &optionError{err}
	}
	return c, nil
}

// options sets ttl and iface, for a multicast group.
func options(c *net.UDPConn, to *net.UDPAddr, q url.Values) error {
	for key := range q {
		if key != "ttl" && key != "iface" {
			return fmt.Errorf("unknown option %q; ttl and iface are the only ones", key)
		}
		if !to.IP.IsMulticast() {
			return fmt.Errorf("%s is for multicast groups", key)
		}
	}
	ttl := 1 // stays in the local network
	if text := q.Get("ttl"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 255 {
			return fmt.Errorf("ttl %q is none of 0 to 255", text)
		}
		ttl = n
	}
	if !to.IP.IsMulticast() {
		return nil
	}
	var iface *net.Interface
	if name := q.Get("iface"); name != "" {
		var err error
		if iface, err = net.InterfaceByName(name); err != nil {
			return fmt.Errorf("interface %q: %w", name, err)
		}
	}
	if to.IP.To4() != nil {
		p := ipv4.NewPacketConn(c)
		return errors.Join(p.SetMulticastTTL(ttl), setInterface(iface, p.SetMulticastInterface))
	}
	p := ipv6.NewPacketConn(c)
	return errors.Join(p.SetMulticastHopLimit(ttl), setInterface(iface, p.SetMulticastInterface))
}

func setInterface(iface *net.Interface, set func(*net.Interface) error) error {
	if iface == nil {
		return nil
	}
	return set(iface)
}

// datagrams writes each write as a datagram.
type datagrams struct {
	c      *net.UDPConn
	log    *slog.Logger
	rtp    *rtp // nil: plain UDP
	buf    []byte
	again  func() (*net.UDPConn, error) // opens the socket anew
	dialed time.Time                    // when that was done last
	told   time.Time                    // when the log was last told that datagrams do not arrive
}

func (d *datagrams) Write(b []byte) (int, error) {
	send := b
	if d.rtp != nil {
		d.buf = append(d.rtp.append(d.buf[:0], time.Now()), b...)
		send = d.buf
	}
	if _, err := d.c.Write(send); err != nil {
		return len(b), d.failed(err)
	}
	return len(b), nil
}

// failed deals with a datagram that was not sent. Whoever receives may come and go, and so may a network and this machine's address in it.
func (d *datagrams) failed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EMSGSIZE) {
		return err
	}
	now := time.Now()
	if now.Sub(d.told) > time.Minute {
		d.told = now
		d.log.Warn("datagrams do not arrive", "err", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || now.Sub(d.dialed) < time.Second {
		return nil
	}
	d.dialed = now
	if c, err := d.again(); err == nil {
		d.c.Close()
		d.c = c
	}
	return nil
}

func (d *datagrams) Close() error { return d.c.Close() }

// rtp makes RTP headers of a transport stream (RFC 3550 §5.1, RFC 2250 §2).
type rtp struct {
	sequence uint16
	ssrc     [4]byte
	begun    time.Time
	base     uint32
}

const (
	rtpVersion = 2 << 6
	payloadMP2 = 33 // MP2T, 90 kHz (RFC 3551 §6)
)

func newRTP() *rtp {
	var random [10]byte
	rand.Read(random[:])
	return &rtp{
		sequence: binary.BigEndian.Uint16(random[4:]), ssrc: [4]byte(random[:4]),
		begun: time.Now(), base: binary.BigEndian.Uint32(random[6:]),
	}
}

// append appends the header of the next datagram, sent at a time.
func (r *rtp) append(b []byte, t time.Time) []byte {
	b = append(b, rtpVersion, payloadMP2)
	b = binary.BigEndian.AppendUint16(b, r.sequence)
	b = binary.BigEndian.AppendUint32(b, r.base+uint32(clock.TicksOf(t.Sub(r.begun))))
	r.sequence++
	return append(b, r.ssrc[:]...)
}

// a datagram has no more than fit 1500 bytes of Ethernet, beside IPv6, UDP and RTP
var _ = [1500 - 40 - 8 - 12 - Burst*ts.PacketSize]struct{}{}
