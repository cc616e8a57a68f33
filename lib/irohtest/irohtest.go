// Package irohtest runs ec-iroh for tests, and puts sockets before its own that hide the lines of docs/format/iroh.md, so that
// what speaks QMux on Unix sockets and knows nothing of iroh can be joined by it. What ships does not import it.
package irohtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Path is where ec-iroh is: what EC_IROH says, or where cargo puts it in this tree. Without it the test is skipped.
func Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv("EC_IROH")
	if path == "" {
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "../../bridge/target/release/ec-iroh")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no ec-iroh: %v; build it with (cd bridge && cargo build --release), or point EC_IROH at it", err)
	}
	return path
}

// Record is a line of ec-iroh's.
type Record struct {
	Event     string   `json:"event,omitempty"`
	Conn      int      `json:"conn,omitempty"`
	ID        string   `json:"id,omitempty"`
	Addrs     []string `json:"addrs,omitempty"`
	Relay     string   `json:"relay,omitempty"`
	Direction string   `json:"direction,omitempty"`
	ALPN      string   `json:"alpn,omitempty"`
	Path      string   `json:"path,omitempty"`
	Addr      string   `json:"addr,omitempty"`
	RTT       int      `json:"rtt_us,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Error     string   `json:"error,omitempty"`
	Code      string   `json:"code,omitempty"`
}

// Node is a running ec-iroh.
type Node struct {
	ID    string
	Addrs []string
	// Records are what it tells after it is ready. Whoever does not read them loses the newest.
	Records <-chan Record
	Process *os.Process
	// ALPNs are what Socket offers. Default all that ec-iroh knows.
	ALPNs []string

	dir string
}

// Start runs ec-iroh until the end of the test. What peers begin is brought to the Unix socket at relay; without one peers are
// refused. Under is a command to run it under, such as ip netns exec.
func Start(t testing.TB, relay string, under []string, args ...string) *Node {
	t.Helper()
	dir, err := os.MkdirTemp("", "ec-iroh") // short: the path of a socket has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := &Node{dir: dir}
	if relay != "" {
		n.splice(t, "accept.sock", func(c net.Conn) (net.Conn, error) {
			if _, err := readLine(c); err != nil {
				return nil, err
			}
			return net.Dial("unix", relay)
		})
	}
	command := append(append(under[:len(under):len(under)], Path(t), "--dir", dir), args...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.Process = cmd.Process
	records, ended := make(chan Record, 256), make(chan struct{})
	n.Records = records
	go func() {
		defer close(ended)
		defer close(records)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var r Record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Errorf("ec-iroh: %q: %v", lines.Bytes(), err)
			}
			select {
			case records <- r:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		stdin.Close() // which ends it
		hung := time.AfterFunc(10*time.Second, func() {
			t.Error("ec-iroh did not end with its stdin")
			cmd.Process.Kill()
		})
		<-ended
		cmd.Wait() // a test may have killed it
		hung.Stop()
	})
	select {
	case r := <-records:
		if r.Event != "ready" {
			t.Fatalf("ec-iroh: %+v", r)
		}
		n.ID, n.Addrs = r.ID, r.Addrs
	case <-time.After(10 * time.Second):
		t.Fatal("ec-iroh is not ready after 10 s")
	}
	return n
}

// Socket is the path of a Unix socket each connection to which is one over iroh to another node, at these addresses.
func (n *Node) Socket(t testing.TB, id string, addrs ...string) string {
	t.Helper()
	dial := map[string]any{"v": 1, "dial": id, "addrs": addrs}
	if n.ALPNs != nil {
		dial["alpns"] = n.ALPNs
	}
	request, err := json.Marshal(dial)
	if err != nil {
		t.Fatal(err)
	}
	return n.splice(t, "to-"+id[:8], func(net.Conn) (net.Conn, error) {
		c, err := net.Dial("unix", filepath.Join(n.dir, "dial.sock"))
		if err != nil {
			return nil, err
		}
		if _, err := c.Write(append(request, '\n')); err != nil {
			return nil, err
		}
		r, err := readLine(c)
		if err == nil && r.Error != "" {
			t.Logf("ec-iroh: %s: %s", r.Code, r.Error)
			c.Close()
			return nil, net.ErrClosed
		}
		return c, err
	})
}

// readLine reads a line and nothing after it.
func readLine(c net.Conn) (r Record, err error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			return r, err
		}
		if b[0] == '\n' {
			return r, json.Unmarshal(line, &r)
		}
		line = append(line, b[0])
	}
}

// splice listens on a Unix socket in n's folder and joins each connection with the one that onward makes.
func (n *Node) splice(t testing.TB, name string, onward func(net.Conn) (net.Conn, error)) (path string) {
	path = filepath.Join(n.dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	closing := false
	open := map[net.Conn]struct{}{}
	track := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if closing {
			c.Close()
		} else {
			open[c] = struct{}{}
		}
		return !closing
	}
	untrack := func(c net.Conn) {
		c.Close()
		mu.Lock()
		delete(open, c)
		mu.Unlock()
	}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !track(c) {
				return
			}
			running.Go(func() {
				defer untrack(c)
				o, err := onward(c)
				if err != nil || !track(o) {
					return
				}
				defer untrack(o)
				var copying sync.WaitGroup
				for _, way := range [][2]net.Conn{{c, o}, {o, c}} {
					copying.Go(func() {
						io.Copy(way[0], way[1])
						way[0].(*net.UnixConn).CloseWrite() // what is under way the other way still arrives
					})
				}
				copying.Wait()
			})
		}
	})
	t.Cleanup(func() {
		mu.Lock()
		closing = true
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		l.Close()
		running.Wait()
	})
	return path
}

// Linked makes two network namespaces with a link between them, with 198.51.100.1 and .2, and returns what runs a command in each.
func Linked(t testing.TB) (a, b []string) {
	t.Helper()
	a, b = namespace(t, "a"), namespace(t, "b")
	ip(t, "link", "add", "eth0", "netns", a[3], "type", "veth", "peer", "name", "eth0", "netns", b[3])
	for i, ns := range []string{a[3], b[3]} {
		ip(t, "-n", ns, "addr", "add", fmt.Sprintf("198.51.100.%d/24", 1+i), "dev", "eth0")
		ip(t, "-n", ns, "link", "set", "eth0", "up")
		ip(t, "-n", ns, "route", "add", "224.0.0.0/4", "dev", "eth0")
	}
	return a, b
}

// Apart makes two network namespaces with no way to each other. Both have this machine as .1 and are .2 themselves: the first one in
// 198.51.101.0/24, the second one in 198.51.102.0/24.
func Apart(t testing.TB) (a, b []string) {
	t.Helper()
	a, b = namespace(t, "a"), namespace(t, "b")
	for i, ns := range []string{a[3], b[3]} {
		dev, net := fmt.Sprintf("eci%d%s", os.Getpid(), "ab"[i:i+1]), fmt.Sprintf("198.51.%d", 101+i)
		ip(t, "link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", ns) // goes with the namespace
		ip(t, "addr", "add", net+".1/24", "dev", dev)
		ip(t, "link", "set", dev, "up")
		ip(t, "-n", ns, "addr", "add", net+".2/24", "dev", "eth0")
		ip(t, "-n", ns, "link", "set", "eth0", "up")
	}
	return a, b
}

func namespace(t testing.TB, name string) []string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	name = fmt.Sprintf("ec-iroh-%d-%s", os.Getpid(), name)
	ip(t, "netns", "add", name)
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", name).Run() })
	ip(t, "-n", name, "link", "set", "lo", "up")
	return []string{"ip", "netns", "exec", name}
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
