package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/ts"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ec-sim": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":      ready,
			"continuity": continuity,
			"longer":     longer,
			"tail":       tail,
		},
	})
}

// serviceManager hears what commands of a script tell the service manager.
type serviceManager struct{}

// setup takes the place of the service manager for one script.
func setup(e *testscript.Env) error {
	dir, err := os.MkdirTemp("", "ec-sim") // the script's own folder may be too long for a socket
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	e.Setenv("NOTIFY_SOCKET", name)
	e.Values[serviceManager{}] = c
	e.Defer(func() { c.Close(); os.RemoveAll(dir) })
	return nil
}

// ready waits until a command says that it is.
func ready(s *testscript.TestScript, neg bool, args []string) {
	c := s.Value(serviceManager{}).(*net.UnixConn)
	s.Check(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
	b := make([]byte, 100)
	n, err := c.Read(b)
	s.Check(err)
	if string(b[:n]) != "READY=1" {
		s.Fatalf("notified %q", b[:n])
	}
}

// continuity FILE fails unless packets follow each other without a gap.
func continuity(s *testscript.TestScript, neg bool, args []string) {
	b := s.ReadFile(args[0])
	var cc ts.Continuity
	n, gaps := 0, 0
	for ; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
		p := (*ts.Packet)([]byte(b[:ts.PacketSize]))
		n++
		if p[0] != ts.SyncByte || cc.Check(p) != ts.Ok {
			gaps++
		}
	}
	if len(b) > 0 || n == 0 || (gaps == 0) == neg {
		s.Fatalf("%d packets, %d gaps, %d bytes more", n, gaps, len(b))
	}
}

// longer A B fails unless A is.
func longer(s *testscript.TestScript, neg bool, args []string) {
	if a, b := len(s.ReadFile(args[0])), len(s.ReadFile(args[1])); a > b == neg {
		s.Fatalf("%d and %d bytes", a, b)
	}
}

// tail A B fails unless A ends with B.
func tail(s *testscript.TestScript, neg bool, args []string) {
	a, b := s.ReadFile(args[0]), s.ReadFile(args[1])
	if b == "" || strings.HasSuffix(a, b) == neg {
		s.Fatalf("%d and %d bytes", len(a), len(b))
	}
}
