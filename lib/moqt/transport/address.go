package transport

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Addresses, as Dial and Listen take them; docs/moqt.md has them as a table.
//
//	moqt://host:port/path     raw QUIC
//	https://host:port/path    WebTransport, on the same UDP port; 443 without a port
//	unix:///socket?path=/path QMux over a Unix socket
//	tcp://host:port/path      QMux over TCP, not encrypted
//	ws://host:port/path       QMux over WebSocket, not encrypted; 80 without a port
//	wss://host:port/path      QMux over WebSocket with TLS; 443 without a port
//
// What listens has no path of its own: the path is the client's wish. An address to listen at without a scheme is host:port of
// UDP, for the first two.

// parseAddress takes an address apart, one to listen at if server is set.
func parseAddress(addr string, server bool) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		return nil, errors.New("not an address: moqt://, https://, unix://, tcp://, ws:// or wss:// is missing")
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, err
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("an address has neither user nor fragment")
	case u.Scheme == "unix":
		if u.Host != "" || len(u.Path) < 2 || strings.HasSuffix(u.Path, "/") {
			return nil, errors.New("want unix:///path/of/socket")
		}
		if server && u.RawQuery != "" {
			return nil, errors.New("the path is the client's to say")
		}
		return u, nil
	case u.Scheme == "tcp", u.Scheme == "ws", u.Scheme == "wss", !server && (u.Scheme == "moqt" || u.Scheme == "https"):
	default:
		return nil, errors.New("not an address: want moqt://, https://, unix://, tcp://, ws:// or wss://")
	}
	if u.Port() != "" {
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return nil, err
		}
		if err := checkPort(u.Port(), server); err != nil {
			return nil, err
		}
	}
	if server {
		if u.Port() == "" || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("want %s://host:port", u.Scheme)
		}
		return u, nil
	}
	if u.Hostname() == "" {
		return nil, errors.New("no host")
	}
	if u.Port() == "" && (u.Scheme == "moqt" || u.Scheme == "tcp") {
		return nil, errors.New("no port")
	}
	return u, nil
}

// CheckAddress reports an address that Dial does not take.
func CheckAddress(addr string) error {
	_, err := parseAddress(addr, false)
	return err
}

// CheckHostPort reports an address that is not host:port, as listeners take it: without a host it is any address of the machine, and
// with port 0 any port that is free.
func CheckHostPort(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	return checkPort(port, true)
}

// checkPort reports what is no port. A server's port 0 is any that is free.
func checkPort(port string, server bool) error {
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case err != nil && server:
		return fmt.Errorf("port %q: want 1 to 65535, or 0 for any that is free", port)
	case err != nil || n == 0 && !server:
		return fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return nil
}

// target returns the authority and path that the client of an address asks for.
func target(u *url.URL) Info { return Info{Authority: u.Host, Path: requestPath(u)} }

// requestPath is the path and query of an address.
func requestPath(u *url.URL) string {
	if u.Scheme == "unix" { // as with moq-dev
		return cmp.Or(u.Query().Get("path"), "/")
	}
	if u.RawQuery != "" {
		return u.EscapedPath() + "?" + u.RawQuery
	}
	return u.EscapedPath()
}
