package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/cmdutil/cmdtest"
	"every.channel/ec/lib/loopback"
)

func TestScripts(t *testing.T) { cmdtest.Run(t, "testdata", "ec-home", "ec-tune", "ec-chop", "ec-pub") }

// bench has the tools, a folder, and what runs.
type bench struct {
	*testing.T
	bin, dir string
}

func newBench(t *testing.T) *bench {
	if testing.Short() {
		t.Skip("builds several commands and runs them for a minute; skipped with -short")
	}
	b := &bench{t, t.TempDir(), t.TempDir()}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", b.bin, "every.channel/ec/cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return b
}

// program is a tool that runs, with its log as it came.
type program struct {
	*exec.Cmd
	done chan struct{}

	mu    sync.Mutex // guards lines
	lines []map[string]any
	wake  chan struct{}
}

func (b *bench) start(tool string, env []string, args ...string) *program {
	b.Helper()
	p := &program{Cmd: exec.Command(filepath.Join(b.bin, tool), append([]string{"--log", "json"}, args...)...), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	p.Dir, p.Env = b.dir, append(os.Environ(), append(env, "EC_LEASES="+filepath.Join(b.dir, "leases"))...)
	log, err := p.StderrPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for s := bufio.NewScanner(log); s.Scan(); {
			var line map[string]any
			if json.Unmarshal(s.Bytes(), &line) != nil {
				line = map[string]any{"msg": s.Text(), "level": "ERROR"}
			}
			p.mu.Lock()
			p.lines = append(p.lines, line)
			p.mu.Unlock()
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
		p.Wait()
	}()
	b.Cleanup(func() {
		p.Process.Kill()
		<-p.done
		if b.Failed() {
			for _, l := range p.log() {
				b.Logf("%s: %v", tool, l)
			}
		}
	})
	return p
}

func (p *program) log() []map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// until waits until the log fulfils a condition.
func (p *program) until(b *bench, what string, is func(log []map[string]any) bool) {
	b.Helper()
	late := time.After(90 * time.Second)
	for !is(p.log()) {
		select {
		case <-p.wake:
		case <-p.done:
			if !is(p.log()) {
				b.Fatalf("ended before %s: %v", what, p.ProcessState)
			}
		case <-late:
			b.Fatalf("not within 90 s: %s", what)
		}
	}
}

// count is how often a line is there for each channel.
func count(log []map[string]any, msg string) map[string]int {
	n := map[string]int{}
	for _, l := range log {
		if c, ok := l["channel"].(string); ok && l["msg"] == msg {
			n[c]++
		}
	}
	return n
}

func each(channels []string, n map[string]int, want int) bool {
	return !slices.ContainsFunc(channels, func(c string) bool { return n[c] < want })
}

// wait waits for a condition outside of any log.
func (b *bench) wait(what string, is func() bool) {
	b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			b.Fatalf("not within 30 s: %s", what)
		}
	}
}

// tuned are the frequencies of the device's tuners that somebody has.
func (b *bench) tuned(base string) (hz []int64, err error) {
	r, err := http.Get(base + "/status.json")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	var tuners []struct{ Frequency int64 }
	if err = errors.Join(err, json.Unmarshal(body, &tuners)); err != nil {
		return nil, err
	}
	for _, t := range tuners {
		if t.Frequency != 0 {
			hz = append(hz, t.Frequency)
		}
	}
	slices.Sort(hz)
	return hz, nil
}

// tree are the process ids of the bench's programs by name.
func (b *bench) tree() map[string][]int {
	tree := map[string][]int{}
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		to, err := os.Readlink(exe)
		if err == nil && filepath.Dir(to) == b.bin {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(exe)))
			tree[filepath.Base(to)] = append(tree[filepath.Base(to)], pid)
		}
	}
	return tree
}

// TestEightChannels: a home publishes eight channels of two multiplexes with two tuners, until the device vanishes, programs are killed, and at last
// the home itself is.
func TestEightChannels(t *testing.T) {
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("looks for processes in /proc")
	}
	b := newBench(t)
	address := loopback.Address(t)
	relay := b.start("ec-relay", nil, "--listen", address, "--store", "store")
	pin := ""
	relay.until(b, "ready", func(log []map[string]any) bool {
		for _, l := range log {
			if l["msg"] == "ready" {
				pin, _ = l["fingerprint"].(string)
			}
		}
		return pin != ""
	})
	// An address of its own: the ports of streams and control are always the same.
	host := fmt.Sprintf("127.%d.%d.5", 64+os.Getpid()%128, os.Getpid()/128%256)
	base := "http://" + host + ":5080"
	device := func() *program {
		p := b.start("ec-sim", nil, "--listen", host, "--services", "4", "serve")
		p.until(b, "ready", func(log []map[string]any) bool {
			return slices.ContainsFunc(log, func(l map[string]any) bool { return l["msg"] == "ready" })
		})
		return p
	}
	sim := device()
	channels := []string{"5.1", "5.2", "5.3", "5.4", "101", "102", "103", "104"}
	conf := []string{"# all channels that the device has", "device = " + base, "relay = moqt://" + address, "fingerprint = " + pin, "source = attic"}
	for _, c := range channels {
		conf = append(conf, "channel = "+c)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "home.conf"), []byte(strings.Join(conf, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func() *program { return b.start("ec-home", nil, "--config", "home.conf") }

	home := run()
	home.until(b, "eight channels on the air", func(log []map[string]any) bool { return each(channels, count(log, "on the air"), 1) })
	if hz, err := b.tuned(base); err != nil || !slices.Equal(hz, []int64{522_000_000, 533_000_000}) {
		t.Errorf("tuners receive %v (%v), want both multiplexes", hz, err)
	}
	if tree := b.tree(); len(tree["ec-tune"]) != 2 || len(tree["ec-chop"]) != 8 || len(tree["ec-pub"]) != 8 {
		t.Errorf("processes: %v, want two tuners, and two for each channel", tree)
	}
	busy := exec.Command(filepath.Join(b.bin, "ec-tune"), "--retry", "0s", "--device", base, "9.1")
	busy.Env = append(os.Environ(), "EC_LEASES="+filepath.Join(b.dir, "leases"))
	if out, err := busy.CombinedOutput(); busy.ProcessState.ExitCode() != 75 || !strings.Contains(string(out), "in use on this machine: tuner 0 by ec-tune ch5") {
		t.Errorf("a third multiplex: %v, %s", err, out)
	}

	// A program that ends is started again, and no other channel notices.
	syscall.Kill(b.tree()["ec-chop"][0], syscall.SIGKILL)
	home.until(b, "one channel off and on again", func(log []map[string]any) bool {
		off, on := count(log, "off the air"), count(log, "on the air")
		return len(off) == 1 && slices.ContainsFunc(channels, func(c string) bool { return off[c] == 1 && on[c] == 2 })
	})
	syscall.Kill(b.tree()["ec-tune"][0], syscall.SIGKILL) // is back before anybody calls the channels silent
	b.wait("two tuners again", func() bool { return len(b.tree()["ec-tune"]) == 2 })

	// The device vanishes, and comes back.
	before := count(home.log(), "off the air")
	sim.Process.Kill()
	<-sim.done
	home.until(b, "eight channels off the air", func(log []map[string]any) bool {
		off := count(log, "off the air")
		return !slices.ContainsFunc(channels, func(c string) bool { return off[c] != before[c]+1 })
	})
	on := count(home.log(), "on the air")
	device()
	home.until(b, "eight channels on the air again", func(log []map[string]any) bool {
		now := count(log, "on the air")
		return !slices.ContainsFunc(channels, func(c string) bool { return now[c] != on[c]+1 })
	})

	b.wait("health tracks that know how the tuners receive", func() bool {
		for _, name := range []string{"ec-source-attic_5_1-3", "ec-source-attic_5_2-4"} {
			out, _ := exec.Command(filepath.Join(b.bin, "ec-sub"), "--fingerprint", pin, "--from", "first", "--to", "now", "moqt://"+address, name+"--health").Output()
			if !strings.Contains(string(out), `"signalStrength":`) {
				return false
			}
		}
		return true
	})

	// Nothing survives a home that is killed.
	home.Process.Kill()
	<-home.done
	b.wait("free tuners after kill -9", func() bool { hz, err := b.tuned(base); return err == nil && len(hz) == 0 })
	b.wait("no process after kill -9", func() bool {
		tree := b.tree()
		return len(tree["ec-tune"])+len(tree["ec-chop"])+len(tree["ec-pub"]) == 0
	})

	// The end in order, with a summary.
	home = run()
	home.until(b, "eight channels on the air, second run", func(log []map[string]any) bool { return each(channels, count(log, "on the air"), 1) })
	home.Process.Signal(syscall.SIGTERM)
	<-home.done
	if code := home.ProcessState.ExitCode(); code != 143 {
		t.Errorf("after SIGTERM: code %d, want 143", code)
	}
	if log := home.log(); log[len(log)-1]["msg"] != "home ended" || log[len(log)-1]["channels"] != 8.0 {
		t.Errorf("the last line is %v", log[len(log)-1])
	}
	if tree := b.tree(); len(tree["ec-tune"])+len(tree["ec-chop"])+len(tree["ec-pub"]) != 0 {
		t.Errorf("still there: %v", tree)
	}
	for _, l := range home.log() {
		if l["level"] == "ERROR" {
			t.Errorf("%v", l)
		}
	}
}
