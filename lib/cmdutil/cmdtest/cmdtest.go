// Package cmdtest runs scripts that put several commands together, with a relay that they can start, stop and kill.
package cmdtest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run runs the scripts of a folder with the named tools built and in PATH. The scripts know one more command:
//
//	relay start [FLAG...]   starts ec-relay with --store store; RELAY is its address, EC_FINGERPRINT pins it
//	relay stop              ends it in order
//	relay kill              pulls its plug
//
// Started again, the relay has the same address. With @NAME behind the verb it is another relay, with --store NAME, whose
// address is $NAME and whose log is NAME.log; EC_FINGERPRINT pins all of them.
func Run(t *testing.T, dir string, tools ...string) {
	if testing.Short() {
		t.Skip("builds several commands; skipped with -short")
	}
	bin := t.TempDir()
	args := []string{"build", "-buildvcs=false", "-o", bin}
	for _, tool := range tools {
		args = append(args, "every.channel/ec/cmd/"+tool)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("EC_IROH", os.Getenv("EC_IROH"))
			rs := &relays{bin: filepath.Join(bin, "ec-relay"), byName: map[string]*relay{}}
			e.Values[relayKey{}] = rs
			e.Defer(func() {
				for _, r := range rs.byName {
					r.end(syscall.SIGKILL)
				}
			})
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"relay": relayCommand},
	})
}

type relayKey struct{}

type relays struct {
	bin    string
	byName map[string]*relay
	pins   []string
}

type relay struct {
	rs      *relays
	name    string // of the variable with its address, and of its files
	addr    string
	cmd     *exec.Cmd
	drained chan struct{}
}

var (
	ready       = regexp.MustCompile(`msg=ready .*?(127\.0\.0\.1:\d+)`)
	fingerprint = regexp.MustCompile(`fingerprint=([0-9a-f]{64})`)
)

func relayCommand(ts *testscript.TestScript, neg bool, args []string) {
	rs := ts.Value(relayKey{}).(*relays)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: relay start|stop|kill [@NAME] [FLAG...]")
	}
	verb, args := args[0], args[1:]
	name := "RELAY"
	if len(args) > 0 && strings.HasPrefix(args[0], "@") {
		name, args = args[0][1:], args[1:]
	}
	r := rs.byName[name]
	if r == nil {
		r = &relay{rs: rs, name: name, addr: "127.0.0.1:0"}
		rs.byName[name] = r
	}
	switch verb {
	case "start":
		r.start(ts, args)
	case "stop":
		ts.Check(r.end(syscall.SIGTERM))
	case "kill":
		ts.Check(r.end(syscall.SIGKILL))
	default:
		ts.Fatalf("relay %s?", verb)
	}
}

func (r *relay) start(ts *testscript.TestScript, flags []string) {
	store, log := r.name, r.name+".log"
	if r.name == "RELAY" {
		store, log = "store", "relay.log"
	}
	r.cmd = exec.Command(r.rs.bin, append([]string{"--listen", r.addr, "--store", ts.MkAbs(store)}, flags...)...)
	r.cmd.Env = append(os.Environ(), "EC_FINGERPRINT="+strings.Join(r.rs.pins, ","))
	stderr, err := r.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	found := make(chan []string, 1)
	r.drained = make(chan struct{})
	go func() {
		defer close(r.drained)
		log, err := os.OpenFile(ts.MkAbs(log), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return
		}
		defer log.Close()
		for s := bufio.NewScanner(stderr); s.Scan(); {
			log.WriteString(s.Text() + "\n")
			if a, f := ready.FindStringSubmatch(s.Text()), fingerprint.FindStringSubmatch(s.Text()); a != nil && f != nil {
				found <- []string{a[1], f[1]}
			}
		}
	}()
	select {
	case f := <-found:
		r.addr = f[0]
		if !slices.Contains(r.rs.pins, f[1]) {
			r.rs.pins = append(r.rs.pins, f[1])
		}
		ts.Setenv(r.name, "moqt://"+f[0])
		ts.Setenv("EC_FINGERPRINT", strings.Join(r.rs.pins, ","))
	case <-r.drained:
		ts.Fatalf("ec-relay did not start; see %s", log)
	case <-time.After(20 * time.Second):
		ts.Fatalf("ec-relay was not ready within 20 s")
	}
}

func (r *relay) end(sig syscall.Signal) error {
	if r.cmd == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(sig); err != nil {
		return err
	}
	<-r.drained
	r.cmd.Wait() // by a signal
	r.cmd = nil
	return nil
}
