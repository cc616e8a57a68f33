package iroh

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
)

// Config says how the program is run. The zero value is a node with a key of its own, for dialing only.
type Config struct {
	// Program is its path. Default: what Find finds.
	Program string
	// Key is the file with the node's key, as docs/format/keys.md has it. Default: a key that is forgotten.
	Key string
	// Accept takes connections of peers (Node.Listener). Default: they are refused.
	Accept bool
	// Bind are addresses to listen at, IP:port. Default: any address, and with Key a port that the key chooses.
	Bind []string
	// MDNS lets the node find others on the local network, and be found. Default: off.
	MDNS bool
	// Relay is the URL of an iroh-relay through which the node can be reached; RelayCA is a file with the certificates of the
	// authority that signed the iroh-relay's. Default: none.
	Relay, RelayCA string
	// Log gets the program's log lines, and events such as its start and end. Default: none.
	Log *slog.Logger
}

const (
	maxLine      = 4096
	firstPause   = 200 * time.Millisecond
	longestPause = 15 * time.Second
	settled      = 10 * time.Second // after a run of this length the next pause is short again
	endPatience  = 3 * time.Second  // how long the program may take from the end of its standard input to its own end
	linePatience = 5 * time.Second
	dialPatience = 5 * time.Second
)

// ErrNotRunning: the program does not run at the moment.
var ErrNotRunning = errors.New(Program + " does not run at the moment")

// Node is the program, kept running by Run. Methods may be called concurrently, before Run too.
type Node struct {
	c   Config
	dir *folder

	listener *Listener

	mu     sync.Mutex // guards what follows
	ready  chan struct{}
	self   Self
	pid    int
	starts int
	peers  map[int64]Peer
	found  map[string][]string
	wakers map[chan struct{}]struct{}
}

// Self is what the program says of its own node.
type Self struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
	Relay string   `json:"relay,omitempty"`
}

// Peer is a connection.
type Peer struct {
	Conn      int64  `json:"conn"`
	ID        string `json:"id"`
	Direction string `json:"direction"` // in or out
	ALPN      string `json:"alpn"`
	Path      string `json:"path"` // direct or relayed
	Addr      string `json:"addr"`
	RTT       int64  `json:"rtt_us"`
}

// Found is a node on the local network.
type Found struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// New makes a node with a private folder, which Run removes. It starts nothing.
func New(c Config) (*Node, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Program == "" {
		var err error
		if c.Program, err = Find(); err != nil {
			return nil, err
		}
	}
	dir, err := newFolder()
	if err != nil {
		return nil, err
	}
	n := &Node{c: c, dir: dir, ready: make(chan struct{}), peers: make(map[int64]Peer), found: make(map[string][]string), wakers: make(map[chan struct{}]struct{})}
	if c.Accept {
		if n.listener, err = listen(filepath.Join(dir.path, "accept.sock"), c.Log); err != nil {
			return nil, errors.Join(err, dir.remove())
		}
	}
	return n, nil
}

// Listener gives the connections of peers; nil without Config.Accept.
func (n *Node) Listener() *Listener { return n.listener }

// Close gives back what New took, for a node that does not run or has stopped.
func (n *Node) Close() error {
	if n.listener != nil {
		n.listener.Close()
	}
	return n.dir.remove()
}

// Run keeps the program running until ctx ends, and ends it then.
func (n *Node) Run(ctx context.Context) error {
	defer n.Close()
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		began := time.Now()
		err := n.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		n.c.Log.Error("ec-iroh ended, starting it again", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

func (n *Node) args() []string {
	args := []string{"--dir", n.dir.path, "--log", "text"}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--key", n.c.Key)
	for _, b := range n.c.Bind {
		add("--bind", b)
	}
	if n.c.MDNS {
		args = append(args, "--mdns")
	}
	add("--relay", n.c.Relay)
	add("--relay-ca", n.c.RelayCA)
	return args
}

// once runs the program to its end.
func (n *Node) once(ctx context.Context) error {
	os.Remove(filepath.Join(n.dir.path, "dial.sock")) // of one that was killed
	cmd := exec.Command(n.c.Program, n.args()...)
	own(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.mu.Lock()
	n.pid, n.starts = cmd.Process.Pid, n.starts+1
	n.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		stdin.Close() // the program ends with it
		time.AfterFunc(endPatience, func() { cmd.Process.Kill() })
	})
	defer stop()
	var reading sync.WaitGroup
	reading.Go(func() { n.events(stdout) })
	var last string
	reading.Go(func() { last = n.logs(stderr) })
	reading.Wait()
	err = cmd.Wait()
	n.mu.Lock()
	select {
	case <-n.ready:
		n.ready = make(chan struct{})
	default:
	}
	n.pid, n.self = 0, Self{}
	clear(n.peers)
	clear(n.found)
	n.changed()
	n.mu.Unlock()
	if last != "" && err != nil {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return cmp.Or(err, io.EOF)
}

// logs passes on the program's log lines and returns the last one.
func (n *Node) logs(r io.Reader) (last string) {
	for s := bufio.NewScanner(r); s.Scan(); {
		last = s.Text()
		n.c.Log.Info("ec-iroh", "says", last)
	}
	io.Copy(io.Discard, r)
	return last
}

type event struct {
	Event  string `json:"event"`
	Reason string `json:"reason"`
	Relay  string `json:"relay"`
	Peer
	Addrs []string `json:"addrs"`
}

// events follows the records on the program's standard output until it ends.
func (n *Node) events(r io.Reader) {
	b := bufio.NewReaderSize(r, maxLine)
	for long := false; ; {
		line, err := b.ReadSlice('\n')
		skip := long
		long = errors.Is(err, bufio.ErrBufferFull)
		switch {
		case long && !skip:
			n.c.Log.Warn("ec-iroh told a line that is too long")
		case long || skip:
		case err != nil:
			return
		default:
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				n.c.Log.Warn("ec-iroh told what is not JSON", "err", err)
				continue
			}
			n.take(e)
		}
		if err != nil && !long {
			return
		}
	}
}

func (n *Node) take(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.Event {
	case "ready", "addrs":
		n.self = Self{ID: e.ID, Addrs: e.Addrs, Relay: e.Relay}
		select {
		case <-n.ready:
		default:
			close(n.ready)
			n.c.Log.Info("iroh", "id", e.ID, "addrs", e.Addrs)
		}
	case "peer":
		if old, ok := n.peers[e.Conn]; !ok || old.Path != e.Path {
			n.c.Log.Info("iroh peer", "id", e.ID, "direction", e.Direction, "path", e.Path, "addr", e.Addr, "rtt", time.Duration(e.RTT)*time.Microsecond)
		}
		n.peers[e.Conn] = e.Peer
	case "gone":
		delete(n.peers, e.Conn)
		n.c.Log.Info("iroh peer gone", "id", e.ID, "reason", e.Reason)
	case "found":
		n.found[e.ID] = e.Addrs
	case "lost":
		delete(n.found, e.ID)
	}
	n.changed()
}

// changed wakes the channels of Watch; the mutex is held.
func (n *Node) changed() {
	for w := range n.wakers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Watch gives a channel that is woken when Self, Peers or Found may have changed, until stop is called.
func (n *Node) Watch() (wake <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	n.mu.Lock()
	n.wakers[w] = struct{}{}
	n.mu.Unlock()
	return w, func() {
		n.mu.Lock()
		delete(n.wakers, w)
		n.mu.Unlock()
	}
}

// Self waits until the program is ready, and returns what it says of itself.
func (n *Node) Self(ctx context.Context) (Self, error) {
	n.mu.Lock()
	ready := n.ready
	n.mu.Unlock()
	select {
	case <-ready:
	default:
		select {
		case <-ready:
		case <-ctx.Done():
			return Self{}, ErrNotRunning
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self, nil
}

// Process returns the id of the running process, 0 if there is none, and how many were started.
func (n *Node) Process() (pid, starts int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pid, n.starts
}

// Peers are the connections there are. A new one is listed a moment after Dial or Accept returned it, which Watch tells.
func (n *Node) Peers() []Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Values(n.peers), func(a, b Peer) int { return cmp.Compare(a.Conn, b.Conn) })
}

// Found are the nodes on the local network.
func (n *Node) Found() (list []Found) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(n.found)) {
		list = append(list, Found{id, n.found[id]})
	}
	return list
}

// DialError says why a peer was not reached.
type DialError struct {
	Text string
	Code string
}

func (e *DialError) Error() string { return "iroh: " + e.Text }

// ExitCode returns 77 if the peer refused the connection, else 69.
func (e *DialError) ExitCode() int {
	if e.Code == "refused" {
		return exit.NotAllowed
	}
	return exit.Unreachable
}

type dialLine struct {
	V       int      `json:"v"`
	Dial    string   `json:"dial"`
	Addrs   []string `json:"addrs,omitempty"`
	Relay   string   `json:"relay,omitempty"`
	ALPNs   []string `json:"alpns,omitempty"`
	Timeout int64    `json:"timeout_ms"`
}

type answerLine struct {
	Peer
	Error string `json:"error"`
	Code  string `json:"code"`
}

// Dial connects to a node by its id, 64 hex digits, with its known addresses and iroh-relay. QMux is spoken over the connection,
// as its client, with the returned ALPN as the only protocol.
func (n *Node) Dial(ctx context.Context, id string, addrs []string, relay string, alpns []string) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialPatience)
	defer cancel()
	if _, err := n.Self(ctx); err != nil {
		return nil, "", err
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.dir.path, "dial.sock"))
	if err != nil {
		return nil, "", err
	}
	if at, ok := ctx.Deadline(); ok {
		nc.SetDeadline(at)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	line, err := json.Marshal(dialLine{1, id, addrs, relay, alpns, dialPatience.Milliseconds()})
	if err == nil {
		_, err = nc.Write(append(line, '\n'))
	}
	var a answerLine
	if err == nil {
		err = readLine(nc, &a)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("iroh: %w", err)
	case a.Error != "":
		err = &DialError{a.Error, a.Code}
	case !stop():
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		nc.Close()
		return nil, "", err
	}
	nc.SetDeadline(time.Time{})
	return newConn(nc, a.Peer), a.ALPN, nil
}

// readLine reads one line and not a byte more, because QMux follows on the same socket.
func readLine(r io.Reader, v any) error {
	line := make([]byte, 0, 512)
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, one); err != nil {
			return err
		}
		if one[0] == '\n' {
			return json.Unmarshal(line, v)
		}
		if len(line) == maxLine {
			return errors.New("a line is too long")
		}
		line = append(line, one[0])
	}
}

// Conn is a connection with a peer.
type Conn struct {
	net.Conn
	id   [32]byte
	addr Addr
}

// Addr is the address of a peer.
type Addr struct{ ID string }

// Network is iroh.
func (a Addr) Network() string { return "iroh" }

func (a Addr) String() string { return "iroh://" + a.ID }

func newConn(nc net.Conn, p Peer) *Conn {
	c := &Conn{Conn: nc, addr: Addr{p.ID}}
	hex.Decode(c.id[:], []byte(p.ID[:min(len(p.ID), 64)]))
	return c
}

// PeerID is the key that the peer has proved to ec-iroh.
func (c *Conn) PeerID() [32]byte { return c.id }

// RemoteAddr names the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

// CloseWrite ends the sending half.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}
