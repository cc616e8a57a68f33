package outage

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/pub"
	"every.channel/ec/lib/relay"
	"every.channel/ec/lib/store"
)

// The test's own program is run again as a relay or a publisher that can be killed; these variables say as which.
const (
	asWhat  = "EC_OUTAGE"
	inDir   = "EC_OUTAGE_DIR"
	atAddr  = "EC_OUTAGE_ADDR"
	withPin = "EC_OUTAGE_PIN"
	resting = "EC_OUTAGE_STANDBY"
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	switch os.Getenv(asWhat) {
	case "":
		os.Exit(m.Run())
	case "relay":
		err = relayProcess()
	case "publisher":
		err = publisherProcess()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func relayProcess() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir := os.Getenv(inDir)
	st, err := store.Open(dir, store.Config{Logger: logger()})
	if err != nil {
		return err
	}
	certs, err := keys.Open(keys.Config{Dir: dir})
	if err != nil {
		return err
	}
	var key [32]byte
	copy(key[:], "started again, it says so")
	l, err := moqt.Listen(os.Getenv(atAddr), certs.TLS(), &moqt.Config{ResetKey: &key})
	if err != nil {
		return err
	}
	fmt.Println("ready", certs.Pin())
	var running sync.WaitGroup
	running.Go(func() { st.Run(ctx) })
	err = relay.New(relay.Config{Store: st, DrainTimeout: time.Millisecond, Logger: logger()}).Serve(ctx, l)
	running.Wait()
	st.Close()
	return err
}

func publisherProcess() error {
	pin, err := moqt.PinFingerprint(os.Getenv(withPin))
	if err != nil {
		return err
	}
	_, err = pub.Run(context.Background(), pub.Config{
		Relays: []string{"moqt://" + os.Getenv(atAddr)}, TLS: pin, Spool: os.Getenv(inDir), Standby: os.Getenv(resting) != "", Log: logger(), RetryStart: time.Hour, RetryLost: time.Hour, Drain: time.Minute,
	}, os.Stdin)
	return err
}

// process is one that can be killed.
type process struct {
	t    testing.TB
	name string
	dir  string
	addr string
	pin  string // of the relay
	rest bool   // a publisher is a standby
	cmd  *exec.Cmd
	b    *broadcast // of a publisher
	stop context.CancelFunc
	fed  chan struct{}
	has  chan struct{} // closed when the publisher has got something
	deaf atomic.Bool   // it hears nothing of what is on air
}

func newProcess(t testing.TB, what, addr string) *process {
	p := &process{t: t, name: what, dir: t.TempDir(), addr: addr}
	t.Cleanup(func() { p.kill() })
	return p
}

// command starts the program again.
func (p *process) command() {
	p.cmd = exec.Command(os.Args[0], "-test.v="+fmt.Sprint(testing.Verbose()))
	p.cmd.Env = append(os.Environ(), asWhat+"="+p.name, inDir+"="+p.dir, atAddr+"="+p.addr, withPin+"="+p.pin)
	if p.rest {
		p.cmd.Env = append(p.cmd.Env, resting+"=1")
	}
	p.cmd.Stderr = os.Stderr
}

// relay starts a relay, and waits until it listens.
func (p *process) relay() {
	p.t.Helper()
	p.command()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for in.Scan() {
		if pin, ok := strings.CutPrefix(in.Text(), "ready "); ok {
			p.pin = pin
			return
		}
	}
	p.t.Fatal("the relay does not start")
}

// publisher starts a publisher, which is fed from the group on that is on air now.
func (p *process) publisher(b *broadcast) {
	p.t.Helper()
	p.command()
	w, err := p.cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.b, p.stop, p.fed, p.has = b, stop, make(chan struct{}), make(chan struct{})
	has := p.has
	p.deaf.Store(false)
	go func() {
		defer close(p.fed)
		b.onAir(ctx, &firstWrite{w, sync.OnceFunc(func() { close(has) }), &p.deaf})
	}()
}

// firstWrite tells of the first write that went well, and writes nothing while the home is deaf.
type firstWrite struct {
	io.WriteCloser
	tell func()
	deaf *atomic.Bool
}

func (w *firstWrite) Write(b []byte) (int, error) {
	if w.deaf.Load() {
		return len(b), nil
	}
	n, err := w.WriteCloser.Write(b)
	if err == nil {
		w.tell()
	}
	return n, err
}

// kill ends the process at once, whatever it is doing.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.unplug()
}

func (p *process) unplug() {
	if p.stop != nil {
		p.stop()
		<-p.fed
	}
}

// end ends the process in order.
func (p *process) end() {
	p.t.Helper()
	if p.stop == nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
	} else {
		select { // an input that ends with nothing is an error
		case <-p.has:
		case <-p.fed:
		}
	}
	p.unplug()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}
