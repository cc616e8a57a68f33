//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"every.channel/ec/lib/netlab"
)

// place is one cell while it is measured: its link, its programme and what runs there.
type place struct {
	lab  *netlab.Lab
	prog *programme
	row  row
	up   bool // from the left side, whose address may change, to the right one
	dir  string
	bin  string

	running []*exec.Cmd
	logs    []*os.File
}

// from and to are the sides of the encoder and of the viewer.
func (p *place) from() netlab.Side {
	if p.up {
		return netlab.LeftSide
	}
	return netlab.RightSide
}

func (p *place) to() netlab.Side { return netlab.RightSide - p.from() }

// command is a program at a side, whose words on stderr go to a file of its name.
func (p *place) command(s netlab.Side, program string, args ...string) (*exec.Cmd, error) {
	cmd := p.lab.Command(context.Background(), s, program, args...)
	f, err := os.Create(filepath.Join(p.dir, fmt.Sprint(filepath.Base(program), len(p.logs), ".log")))
	if err != nil {
		return nil, err
	}
	p.logs = append(p.logs, f)
	cmd.Stderr = f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// run starts a program that is ended with the cell.
func (p *place) run(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	p.running = append(p.running, cmd)
	return nil
}

// close ends all that runs, the last first.
func (p *place) close() error {
	for i := len(p.running) - 1; i >= 0; i-- {
		cmd := p.running[i]
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // a process group of its own
		late := time.AfterFunc(3*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait() // how a program takes its end is tested elsewhere
		late.Stop()
	}
	var errs []error
	for _, f := range p.logs {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, p.lab.Close())...)
}

// said is the last that each program said.
func (p *place) said() string {
	var b strings.Builder
	for _, f := range p.logs {
		text, err := os.ReadFile(f.Name())
		if err != nil || len(text) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", filepath.Base(f.Name()), text[max(0, len(text)-1500):])
	}
	return b.String()
}

// listen opens a socket at a side.
func (p *place) listen(s netlab.Side, address string) (l net.Listener, err error) {
	err = p.lab.In(s, func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	return l, err
}

// dial opens a connection of TCP from a side, which is the client's: by its address no connection outlives a change.
func (p *place) dial(s netlab.Side, address string) (c net.Conn, err error) {
	err = p.lab.In(s, func() (err error) {
		c, err = net.DialTimeout("tcp4", address, stuckAfter)
		return err
	})
	return c, err
}

// stuckAfter is when a client of HTTP gives up a connection on which nothing moves, and makes another one.
const stuckAfter = 3 * time.Second

// moving is a connection that fails when nothing moves on it for too long.
type moving struct{ net.Conn }

func (c moving) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stuckAfter)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c moving) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil { // in small pieces, so that a slow path is not taken for one that is stuck
		if err = c.SetWriteDeadline(time.Now().Add(stuckAfter)); err != nil {
			break
		}
		var m int
		m, err = c.Conn.Write(b[:min(len(b), 16<<10)])
		n, b = n+m, b[m:]
	}
	return n, err
}

// done waits until every object that counts is whole, or until none can come in time any more.
func (p *place) done(ctx context.Context) error {
	select {
	case <-p.prog.whole:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(p.prog.end().Add(p.row.drain))):
		return nil
	}
}

// together runs parts of a cell until the objects are there or one part fails.
func (p *place) together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	over := errors.New("the cell is over")
	ended := make(chan struct{}, len(parts))
	for _, part := range parts {
		go func() {
			defer func() { ended <- struct{}{} }()
			if err := part(ctx); err != nil {
				stop(err)
			}
		}()
	}
	err := p.done(ctx)
	stop(over)
	for range parts {
		<-ended
	}
	return err
}

var errEnded = errors.New("the program has ended")

// read calls f with a stream until ctx ends; a stream that ends before is an error.
func read(ctx context.Context, r io.ReadCloser, f func() error) error {
	defer context.AfterFunc(ctx, func() { r.Close() })()
	err := f()
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return err
}
