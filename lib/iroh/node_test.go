package iroh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const them = "19bf0000000000000000000000000000000000000000000000000000000000ff"

// The folder of a process that was killed goes with the next node; that of one that lives stays, and so do others'.
func TestFolderOfTheKilledIsRemoved(t *testing.T) {
	n := run(t)
	tmp := os.TempDir()
	for _, name := range []string{"ec-iroh-killed", "ec-iroh-new", "other-iroh-1"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "ec-iroh-new" {
			continue
		}
		for _, file := range []string{"lock", "accept.sock"} {
			if err := os.WriteFile(filepath.Join(tmp, name, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	later, err := New(Config{Program: n.c.Program})
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	for name, stays := range map[string]bool{"ec-iroh-killed": false, "ec-iroh-new": true, "other-iroh-1": true, filepath.Base(n.dir.path): true, filepath.Base(later.dir.path): true} {
		if _, err := os.Stat(filepath.Join(tmp, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Processes that start at the same moment leave each other's folders alone.
func TestFoldersSideBySide(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				f, err := newFolder()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(filepath.Join(f.path, lockName)); err != nil {
					t.Error(err)
				}
				f.remove()
			}
		})
	}
	all.Wait()
}

// TestMain is also a program that speaks as ec-iroh does, of one that echoes what it is sent.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "--dir" {
		pretend(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

func pretend(dir string) {
	l, err := net.Listen("unix", filepath.Join(dir, "dial.sock"))
	if err != nil {
		os.Exit(74)
	}
	fmt.Printf(`{"v":1,"event":"ready","id":"%s","addrs":["192.0.2.1:1"]}`+"\n", strings.Repeat("a", 64))
	go func() {
		for conn := 1; ; conn++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			line, _ := r.ReadString('\n')
			if !strings.Contains(line, them) {
				fmt.Fprintln(c, `{"v":1,"error":"nobody is there","code":"unreachable"}`)
				c.Close()
				continue
			}
			fmt.Printf(`{"v":1,"event":"peer","conn":%d,"id":"%s","direction":"out","alpn":"moqt-18","path":"direct","addr":"192.0.2.2:2","rtt_us":7}`+"\n", conn, them)
			fmt.Fprintf(c, `{"v":1,"conn":%d,"id":"%s","alpn":"moqt-18","path":"direct"}`+"\nafter", conn, them)
			go func() {
				io.Copy(c, r)
				c.Close()
			}()
		}
	}()
	io.Copy(io.Discard, os.Stdin)
	os.WriteFile(filepath.Join(dir, "..", "ended"), nil, 0o600)
}

// run starts a node whose program is this test.
func run(t *testing.T) *Node {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Program: self, Accept: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if _, err := os.Stat(n.dir.path); err == nil {
			t.Error("the folder is left behind")
		}
		if _, err := os.Stat(filepath.Join(n.dir.path, "..", "ended")); err != nil {
			t.Error("the program did not end in order:", err)
		}
	})
	if _, err := n.Self(within(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A dial gives what comes behind the answer, byte for byte, and who is there.
func TestDial(t *testing.T) {
	n := run(t)
	wake, stop := n.Watch()
	defer stop()
	c, alpn, err := n.Dial(within(t), them, nil, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "after" || alpn != "moqt-18" || c.RemoteAddr().String() != "iroh://"+them {
		t.Errorf("%q, %q, %v, %v", b, alpn, c.RemoteAddr(), err)
	}
	if id := c.(*Conn).PeerID(); id[0] != 0x19 || id[31] != 0xff {
		t.Errorf("id %x", id)
	}
	for len(n.Peers()) == 0 {
		select {
		case <-wake:
		case <-within(t).Done():
			t.Fatal("the peer is not listed")
		}
	}
	if p := n.Peers(); len(p) != 1 || p[0].Path != "direct" || p[0].RTT != 7 {
		t.Errorf("%+v", p)
	}
	_, _, err = n.Dial(within(t), strings.Repeat("b", 64), nil, "", nil)
	if d, ok := errors.AsType[*DialError](err); !ok || d.Code != "unreachable" || d.ExitCode() != 69 {
		t.Error(err)
	}
}

// A program that is killed is started again, and knows nothing of before.
func TestKilled(t *testing.T) {
	n := run(t)
	c, _, err := n.Dial(within(t), them, nil, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	wake, stop := n.Watch()
	defer stop()
	pid, _ := n.Process()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	c.Close()
	for again := 0; again != 2; _, again = n.Process() {
		select {
		case <-wake:
		case <-time.After(20 * time.Millisecond):
		case <-within(t).Done():
			t.Fatal("not started again")
		}
	}
	if p := n.Peers(); len(p) != 0 {
		t.Errorf("%+v", p)
	}
	if c, _, err = n.Dial(within(t), them, nil, "", nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// What peers begin comes with who they are; a connection that begins otherwise is none.
func TestAccept(t *testing.T) {
	n := run(t)
	for _, first := range []string{"nonsense\n", `{"v":1,"conn":1,"id":"short"}` + "\n", `{"v":1,"conn":1,"id":"` + them + `","alpn":"moqt-18"}` + "\nqmux"} {
		c, err := net.Dial("unix", filepath.Join(n.dir.path, "accept.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, first)
	}
	c, err := n.Listener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "qmux" || c.RemoteAddr().String() != "iroh://"+them {
		t.Errorf("%q, %v, %v", b, c.RemoteAddr(), err)
	}
}

// TestLongLine: a line that is too long, with words of others perhaps, is skipped, and what comes after it is heard.
func TestLongLine(t *testing.T) {
	n := &Node{c: Config{Log: slog.New(slog.DiscardHandler)}, ready: make(chan struct{}), peers: make(map[int64]Peer), found: make(map[string][]string)}
	for _, size := range []int{10, maxLine - 50, maxLine, maxLine + 1, 3 * maxLine, 100_000} {
		clear(n.peers)
		n.events(strings.NewReader(`{"v":1,"event":"gone","conn":1,"reason":"` + strings.Repeat("x", size) + `"}` + "\n" + `{"v":1,"event":"peer","conn":2}` + "\n" + `{"v":1,"event":"peer","conn":3}`))
		if len(n.peers) != 1 || n.peers[2].Conn != 2 {
			t.Errorf("%d bytes: %v", size, n.peers)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("EC_IROH", "")
	t.Setenv("PATH", t.TempDir())
	_, err := Find()
	var coder interface {
		ExitCode() int
		Hint() string
	}
	if !errors.As(err, &coder) || coder.ExitCode() != 69 || !strings.Contains(coder.Hint(), "cargo build") {
		t.Errorf("%v", err)
	}
}
