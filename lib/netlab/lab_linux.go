package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Lab is two network namespaces and the link between them. Nothing else is in them but their loopback, so nothing leaves.
type Lab struct {
	Left, Right     *Direction // what the left side sends, and the right side
	ends            [2]end
	files           [2]*os.File
	wait            sync.WaitGroup
	renumbered      int
	leftIP, rightIP string
}

// end is one side.
type end struct{ space, device string }

// Side is one of the two.
type Side int

const (
	LeftSide Side = iota
	RightSide
)

var labs atomic.Int64 // that this process has made

// Report is what became of the packets, both ways.
type Report struct {
	Seed  uint64 `json:"seed"`
	Left  Counts `json:"left"`
	Right Counts `json:"right"`
}

const subnet = "10.77.0."

// New makes the namespaces and the link. It needs root, ip and /dev/net/tun.
func New(seed uint64, left, right Params) (l *Lab, err error) {
	l = &Lab{leftIP: subnet + "1", rightIP: subnet + "2"}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	number := labs.Add(1)
	for i, side := range []string{"l", "r"} {
		e := end{fmt.Sprintf("ec-lab-%s-%d-%d", side, os.Getpid(), number), fmt.Sprintf("ec%s%d-%d", side, os.Getpid(), number)}
		if err := ip("netns", "add", e.space); err != nil {
			return l, err
		}
		l.ends[i] = e
		if l.files[i], err = openTUN(e.device); err != nil {
			return l, err
		}
		for _, args := range [][]string{
			{"link", "set", e.device, "netns", e.space},
			{"-n", e.space, "link", "set", "lo", "up"},
			{"-n", e.space, "addr", "add", []string{l.leftIP, l.rightIP}[i] + "/24", "dev", e.device},
			{"-n", e.space, "link", "set", e.device, "txqueuelen", "10000", "up"},
		} {
			if err := ip(args...); err != nil {
				return l, err
			}
		}
	}
	l.Left = NewDirection(seed, left, l.into(1))
	l.Right = NewDirection(seed+1, right, l.into(0))
	l.carry(0, l.Left)
	l.carry(1, l.Right)
	return l, nil
}

// into writes packets into a side. What the side does not take is lost, as in any network.
func (l *Lab) into(side int) func([]byte) {
	return func(b []byte) { l.files[side].Write(b) }
}

// carry sends what a side's device gives out.
func (l *Lab) carry(side int, d *Direction) {
	l.wait.Add(1)
	go func() {
		defer l.wait.Done()
		b := make([]byte, maxPacket)
		for {
			n, err := l.files[side].Read(b)
			if err != nil {
				return
			}
			d.Send(b[:n])
		}
	}()
}

// Environ is what a command needs to know: LEFT and RIGHT, to be put before a command that is to run there, and LEFT_IP and RIGHT_IP.
func (l *Lab) Environ() []string {
	return []string{
		"LEFT=ip netns exec " + l.ends[0].space, "RIGHT=ip netns exec " + l.ends[1].space, "LEFT_IP=" + l.leftIP, "RIGHT_IP=" + l.rightIP,
	}
}

// IP is the address of a side.
func (l *Lab) IP(s Side) string { return []string{l.leftIP, l.rightIP}[s] }

// Command is a program that is to run at a side.
func (l *Lab) Command(ctx context.Context, s Side, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.ends[s].space, program}, args...)...)
}

// In calls f at a side, on a thread of its own that ends with f: sockets that f opens stay at that side, what else f starts does not.
func (l *Lab) In(s Side, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others
		space, err := os.Open("/run/netns/" + l.ends[s].space)
		if err == nil {
			err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET)
			space.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Renumber gives the left side another address, as when a home's line is connected anew: sockets that are bound to the old one are cut off.
func (l *Lab) Renumber() error {
	l.renumbered++
	next := fmt.Sprint(subnet, 2+l.renumbered)
	err := errors.Join( // the old one first: with the first address of a subnet the others go, too
		ip("-n", l.ends[0].space, "addr", "del", l.leftIP+"/24", "dev", l.ends[0].device),
		ip("-n", l.ends[0].space, "addr", "add", next+"/24", "dev", l.ends[0].device))
	l.leftIP = next
	return err
}

// Apply carries out what is to happen: "renumber", or parameters for both directions, or after "left:" or "right:" for what that side sends.
func (l *Lab) Apply(event string) error {
	if event == "renumber" {
		return l.Renumber()
	}
	if rest, ok := strings.CutPrefix(event, "left:"); ok {
		return l.Left.Change(rest)
	}
	if rest, ok := strings.CutPrefix(event, "right:"); ok {
		return l.Right.Change(rest)
	}
	return errors.Join(l.Left.Change(event), l.Right.Change(event))
}

// Report tells what became of the packets so far.
func (l *Lab) Report() Report {
	return Report{Left: l.Left.Counts(), Right: l.Right.Counts()}
}

// Close removes the link and the namespaces.
func (l *Lab) Close() error {
	var errs []error
	for _, d := range []*Direction{l.Left, l.Right} {
		if d != nil {
			d.Close()
		}
	}
	for i, e := range l.ends {
		if l.files[i] != nil {
			errs = append(errs, l.files[i].Close())
		}
		if e.space != "" {
			errs = append(errs, ip("netns", "del", e.space))
		}
	}
	l.wait.Wait()
	return errors.Join(errs...)
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
