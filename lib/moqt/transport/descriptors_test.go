package transport

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scarce is a listener without connections, which at first says that there are no descriptors left.
type scarce struct {
	errs   []error
	closed chan struct{}
	calls  atomic.Int64
}

func (l *scarce) Accept() (net.Conn, error) {
	if n := int(l.calls.Add(1)); n <= len(l.errs) {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", l.errs[n-1])}
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *scarce) Close() error   { close(l.closed); return nil }
func (l *scarce) Addr() net.Addr { return &net.UnixAddr{Name: "scarce", Net: "unix"} }

// TestListenerOutlivesDescriptors: neither a process without descriptors nor a system without them ends a listener.
func TestListenerOutlivesDescriptors(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE} {
		synctest.Test(t, func(t *testing.T) {
			nl := &scarce{errs: []error{err, err, err}, closed: make(chan struct{})}
			l := ListenOn(nl, "scarce", new(Options))
			defer l.Close()
			ended := make(chan error, 1)
			go func() {
				_, err := l.Accept(t.Context())
				ended <- err
			}()
			for int(nl.calls.Load()) <= len(nl.errs) {
				select {
				case err := <-ended:
					t.Fatalf("ended after %d calls: %v", nl.calls.Load(), err)
				default:
					synctest.Wait()
					time.Sleep(time.Second)
				}
			}
		})
	}
}
