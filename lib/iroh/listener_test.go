package iroh

import (
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scarce is a listener that at first says that there are no descriptors left, and then has nothing.
type scarce struct {
	net.Listener
	errs   []error
	calls  int
	closed chan struct{}
}

func (l *scarce) Accept() (net.Conn, error) {
	l.calls++
	if l.calls <= len(l.errs) {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", l.errs[l.calls-1])}
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *scarce) Close() error { close(l.closed); return nil }

// TestListenerOutlivesDescriptors: neither a process without descriptors nor a system without them ends the listening.
func TestListenerOutlivesDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl := &scarce{errs: []error{syscall.EMFILE, syscall.ENFILE, syscall.EMFILE}, closed: make(chan struct{})}
		l := &Listener{l: nl, log: slog.New(slog.DiscardHandler), conns: make(chan net.Conn), done: make(chan struct{})}
		l.wg.Go(l.serve)
		defer l.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if nl.calls != len(nl.errs)+1 {
			t.Errorf("ended after %d calls", nl.calls)
		}
	})
}
