package home

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
)

// event is a line of a program's log.
type event struct {
	program string // ec-tune
	level   slog.Level
	msg     string
	attrs   []any          // in their order, as slog has them
	value   map[string]any // the same by name
}

// text is an attribute, or "".
func (e event) text(name string) string {
	s, _ := e.value[name].(string)
	return s
}

// ended says how a program ended; nil: with code 0.
type ended struct {
	Program string
	Code    int // -1: by a signal
	Why     string
	Advice  string
}

func (e *ended) Error() string {
	if e.Why == "" {
		return fmt.Sprintf("%s ended with code %d", e.Program, e.Code)
	}
	return e.Program + ": " + e.Why
}

// ExitCode is the program's.
func (e *ended) ExitCode() int { return e.Code }

// runner runs the programs. Tests have another one.
type runner interface {
	// receive runs ec-tune, whose output goes to w, until it ends or ctx does.
	receive(ctx context.Context, args []string, w io.Writer, say func(event)) error
	// publish runs ec-chop and ec-pub, joined, with what comes in the queue, until one of them ends or ctx does; then both have ended.
	publish(ctx context.Context, chop, pub []string, q *queue, say func(event)) error
}

// Programs are the files of the programs.
type Programs struct {
	Tune, Chop, Pub string
	// PubEnv are variables for ec-pub: what must not stand on a command line.
	PubEnv []string
}

// Find finds the programs beside our own, or in PATH.
func Find() (p Programs, err error) {
	for name, path := range map[string]*string{"ec-tune": &p.Tune, "ec-chop": &p.Chop, "ec-pub": &p.Pub} {
		if *path, err = find(name); err != nil {
			return p, exit.With(exit.Unreachable, fmt.Errorf("%s is not on this machine: %w", name, err), "the programs are looked for in the folder of ec-home and in PATH")
		}
	}
	return p, nil
}

func find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return found, nil
		}
	}
	return exec.LookPath(name)
}

const (
	// drainTime is how long ec-chop and ec-pub may take from the end of their input to their own end, and endTime how long a program may take
	// to end once it was told to.
	drainTime = 10 * time.Second
	endTime   = 5 * time.Second
)

func (p *Programs) receive(ctx context.Context, args []string, w io.Writer, say func(event)) error {
	c := p.command(p.Tune, args, nil)
	c.Stdout = w
	run, err := begin(c, say)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, run.end)()
	return run.wait()
}

func (p *Programs) publish(ctx context.Context, chopArgs, pubArgs []string, q *queue, say func(event)) error {
	// Pipes of our own: a program must see the end of its input when the one before it has ended, also if we were killed.
	in, toChop, err := os.Pipe()
	if err != nil {
		return err
	}
	defer toChop.Close()
	joint, fromChop, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	pub := p.command(p.Pub, pubArgs, p.PubEnv)
	pub.Stdin = joint
	pubRun, err := begin(pub, say)
	joint.Close()
	if err != nil {
		in.Close()
		fromChop.Close()
		return err
	}
	chop := p.command(p.Chop, chopArgs, nil)
	chop.Stdin, chop.Stdout = in, fromChop
	chopRun, err := begin(chop, say)
	in.Close()
	fromChop.Close()
	if err != nil {
		pubRun.end()
		return errors.Join(err, pubRun.wait())
	}

	feeding, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(feeding, func() { toChop.SetWriteDeadline(time.Now()) })() // ec-chop may have stopped reading
	var first error                                                                    // of the one that ended first, which is why the other one does
	var all sync.WaitGroup
	var once sync.Once
	for _, r := range []*running{chopRun, pubRun} {
		all.Go(func() {
			err := r.wait()
			once.Do(func() {
				first = err
				stop()
			})
		})
	}
	for {
		b, err := q.next(feeding)
		if err != nil {
			break
		}
		_, err = toChop.Write(b.b)
		b.release()
		if err != nil {
			break
		}
	}
	toChop.Close()
	late := time.AfterFunc(drainTime, func() { chopRun.end(); pubRun.end() })
	all.Wait()
	late.Stop()
	return first
}

// command is a program with a log that can be read.
func (p *Programs) command(path string, args, env []string) *exec.Cmd {
	c := exec.Command(path, append([]string{"--log", "json"}, args...)...)
	// What is meant for ec-home, by a person or a service manager, is not meant for them.
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == "EC_LEASES":
		case strings.HasPrefix(name, "EC_"), name == "NOTIFY_SOCKET", strings.HasPrefix(name, "WATCHDOG_"), strings.HasPrefix(name, "LISTEN_"):
			continue
		}
		c.Env = append(c.Env, v)
	}
	c.Env = append(c.Env, env...)
	own(c)
	return c
}

// running is a program that runs.
type running struct {
	c    *exec.Cmd
	name string
	log  sync.WaitGroup
	last *ended // what the log said of the end

	once   sync.Once
	killer *time.Timer
	mu     sync.Mutex // guards killer
}

func begin(c *exec.Cmd, say func(event)) (*running, error) {
	r := &running{c: c, name: filepath.Base(c.Path)}
	log, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Stderr = w
	err = c.Start()
	w.Close()
	if err != nil {
		log.Close()
		return nil, err
	}
	r.log.Go(func() {
		defer log.Close()
		r.follow(log, say)
	})
	return r, nil
}

// end tells the program to end, and kills it if it does not.
func (r *running) end() {
	r.once.Do(func() {
		r.c.Process.Signal(os.Interrupt)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.killer = time.AfterFunc(endTime, func() { r.c.Process.Kill() })
	})
}

// wait waits for the program's end.
func (r *running) wait() error {
	err := r.c.Wait()
	r.log.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killer != nil {
		r.killer.Stop()
	}
	var status *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &status):
		return fmt.Errorf("%s: %w", r.name, err)
	}
	e := &ended{Program: r.name, Code: status.ExitCode()}
	if e.Code < 0 {
		e.Why = status.String()
	}
	if r.last != nil {
		e.Why, e.Advice = r.last.Why, r.last.Advice
	}
	return e
}

// follow reads a program's log to its end.
func (r *running) follow(log io.Reader, say func(event)) {
	in := bufio.NewReaderSize(log, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if e, ok := parse(r.name, line); ok {
			if e.msg == "ended" && e.level >= slog.LevelError {
				r.last = &ended{Why: e.text("err"), Advice: e.text("hint")}
			} else {
				say(e)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// parse reads a line of a log. What is no JSON, such as the report of a crash, becomes an error of that text.
func parse(program string, line []byte) (event, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return event{}, false
	}
	e := event{program: program, level: slog.LevelError, msg: string(line)}
	if err := json.Unmarshal(line, &e.value); err != nil {
		return e, true
	}
	e.msg = e.text("msg")
	if err := e.level.UnmarshalText([]byte(e.text("level"))); err != nil {
		e.level = slog.LevelError
	}
	// In the order of the line, which a map does not keep.
	d := json.NewDecoder(bytes.NewReader(line))
	d.Token()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		name, _ := key.(string)
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			break
		}
		switch name {
		case "time", "level", "msg":
		default:
			e.attrs = append(e.attrs, name, e.value[name])
		}
	}
	return e, true
}
