package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"every.channel/ec/lib/activate"
)

// Listener accepts connections.
type Listener interface {
	// Accept returns the next connection, on which a protocol was agreed already. A slow client delays nobody.
	Accept(ctx context.Context) (Conn, error)
	// Addr is the address listened on; but for UDP it prints as what Dial takes.
	Addr() net.Addr
	// Close stops listening and closes every connection accepted.
	Close() error
}

// Listen listens at host:port of UDP, for raw QUIC and WebTransport, or at an address with scheme unix, tcp, ws or wss (address.go).
// tlsConf needs a certificate for UDP and wss; ALPN is set here.
func Listen(addr string, tlsConf *tls.Config, o *Options) (Listener, error) {
	o = o.withDefaults()
	u, err := parseListen(addr)
	if err != nil {
		return nil, err
	}
	if u == nil {
		l, err := listenQUIC(addr, tlsConf, o)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	l, err := listenQMux(u, tlsConf, o)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// parseListen takes an address to listen at apart; nil is one of UDP.
func parseListen(addr string) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		return nil, CheckHostPort(addr)
	}
	u, err := parseAddress(addr, true)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	return u, nil
}

// TryListen reports what keeps Listen from listening at an address, by binding a socket there for a moment. It returns
// syscall.EADDRINUSE where another socket listens.
func TryListen(addr string) error {
	u, err := parseListen(addr)
	if err != nil {
		return err
	}
	if u == nil {
		c := activate.Packet(addr)
		if c == nil {
			c, err = net.ListenPacket("udp", addr)
		}
		if err != nil {
			return err
		}
		return c.Close()
	}
	var l net.Listener
	if u.Scheme == "unix" {
		l, err = listenUnix(u.Path)
	} else {
		l, err = ListenTCP(u.Host)
	}
	if err != nil {
		return err
	}
	return l.Close()
}
