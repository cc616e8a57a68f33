package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/probe"
	"every.channel/ec/lib/sim"
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
			"habit":      habit,
			"covered":    covered,
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
	e.Values[habitsSeen{}] = map[string]bool{}
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

// habitsSeen is where a script remembers which habits it has had.
type habitsSeen struct{}

// habit CHANNEL NAMES [ERROR...] writes 30 s of a broadcast with habits (names apart by spaces) and fails unless ec-dump's measurements
// of it find exactly these errors of TR 101 290.
func habit(s *testscript.TestScript, neg bool, args []string) {
	seen := s.Value(habitsSeen{}).(map[string]bool)
	run := []string{"--at", "2026-03-14T12:00:05Z", "--duration", "30s", "-o", s.MkAbs("habit.ts")}
	for name := range strings.FieldsSeq(args[1]) {
		run = append(run, "--habit", name)
		name, _, _ = strings.Cut(name, "=")
		seen[name] = true
	}
	s.Check(s.Exec("ec-sim", append(run, "write", args[0])...))
	var out bytes.Buffer
	b := []byte(s.ReadFile("habit.ts"))
	s.Check(probe.Run(context.Background(), probe.Config{JSON: true}, bytes.NewReader(b), &out))
	var r struct {
		Packets  int `json:"packets"`
		Programs []struct {
			Number int `json:"program"`
		} `json:"programs"`
		TR struct {
			Priority1, Priority2 map[string]any
		} `json:"tr101290"`
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	s.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	if r.Packets*ts.PacketSize != len(b) || r.Packets < 3000 || len(r.Programs) == 0 {
		s.Fatalf("%s: %d packets, programs %v", args[1], r.Packets, r.Programs)
	}
	found := []string{}
	for _, p := range []map[string]any{r.TR.Priority1, r.TR.Priority2} {
		if len(p) < 7 {
			s.Fatalf("%d measurements", len(p))
		}
		for name, n := range p {
			if v, ok := n.(float64); ok && v > 0 {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	want := slices.Sorted(slices.Values(args[2:]))
	if !slices.Equal(found, want) {
		s.Fatalf("%s on %s: errors %q, want %q", args[1], args[0], found, want)
	}
}

// covered fails unless the script had every habit there is.
func covered(s *testscript.TestScript, neg bool, args []string) {
	seen := s.Value(habitsSeen{}).(map[string]bool)
	for _, f := range sim.HabitFlags() {
		if !seen[f.Name] {
			s.Fatalf("the script says nothing of %s", f.Name)
		}
	}
}

// The page describes every habit with the value it has by default.
func TestManPageHasHabits(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/ec-sim.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sim.HabitFlags() {
		line := "\n.It Cm " + f.Name
		if f.Value != "" {
			line += " Ns = Ns Cm " + strings.ReplaceAll(f.Value, "-4s", `\-4s`)
		}
		if !strings.Contains(string(page), line+"\n") {
			t.Errorf("docs/man/ec-sim.1 lacks %q", line)
		}
	}
}
