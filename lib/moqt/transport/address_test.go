package transport

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestAddresses: what is no address, who listens already, and a socket left behind.
func TestAddresses(t *testing.T) {
	ctx := testContext(t)
	for _, u := range []string{
		"unix://relative/path", "unix:///", "unix:///folder/", "tcp://host", "tcp://:0:0", "tcp://", "ws://", "wss:///x", "moqt://host", "%", "",
		"host:4443", "ftp://host:1", "ws://user@host:1", "tcp://host:1#x",
		"moqt://host:99999", "https://host:65536/", "ws://host:0", "moqt://host:0",
	} {
		if err := CheckAddress(u); err == nil {
			t.Errorf("%s is an address", u)
		}
		if _, err := Dial(ctx, u, nil, nil); err == nil {
			t.Errorf("%s dialed", u)
		}
	}
	for _, u := range []string{
		"unix://relative/path", "unix:///", "unix:///s?path=/x", "tcp://host", "tcp://host:1/room", "ws://host", "wss://host:1/?q", "tcp://:65536", "moqt://host:1", "https://host:1",
		"host", "", ":65536", "host:", "[::1]:https", "[::1:4443",
	} {
		if err := TryListen(u); err == nil {
			t.Errorf("%s is an address to listen at", u)
		}
		if _, err := Listen(u, nil, nil); err == nil {
			t.Errorf("%s listened at", u)
		}
	}
	for _, u := range []string{"moqt://h:1", "https://h/x?y", "unix:///s", "unix:///a/b?path=/x", "tcp://[::1]:1/x", "ws://h", "WSS://h:1/x", "moqt://h:65535"} {
		if err := CheckAddress(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{":4443", "[::1]:4443", "unix:///s", "tcp://:1", "ws://127.0.0.1:0/", "wss://:1"} {
		if _, err := parseListen(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	l, err := Listen("unix://"+path, nil, nil)
	if err != nil {
		t.Fatalf("over a socket left behind: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Listen("unix://"+path, nil, nil); err == nil {
		t.Error("two listeners at one socket")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix://"+path, nil, nil); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := l.Accept(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}
