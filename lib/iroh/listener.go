package iroh

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxGreeting bounds the connections whose first line is awaited.
const maxGreeting = 64

// Listener gives the connections that peers began.
type Listener struct {
	l     net.Listener
	log   *slog.Logger
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func listen(path string, log *slog.Logger) (*Listener, error) {
	nl, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, nl.Close())
	}
	l := &Listener{l: nl, log: log, conns: make(chan net.Conn), done: make(chan struct{})}
	l.wg.Go(l.serve)
	return l, nil
}

// serve reads the first line of each connection beside the others.
func (l *Listener) serve() {
	greeting := make(chan struct{}, maxGreeting)
	for {
		nc, err := l.l.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			select {
			case <-time.After(50 * time.Millisecond): // files may be closed meanwhile
				continue
			case <-l.done:
			}
		}
		if err != nil {
			return
		}
		select {
		case greeting <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		l.wg.Go(func() {
			c, err := greet(nc)
			<-greeting
			if err != nil {
				l.log.Debug("ec-iroh began a connection that is none", "err", err)
				nc.Close()
				return
			}
			select {
			case l.conns <- c:
			case <-l.done:
				nc.Close()
			}
		})
	}
}

func greet(nc net.Conn) (*Conn, error) {
	nc.SetDeadline(time.Now().Add(linePatience))
	var p Peer
	if err := readLine(nc, &p); err != nil {
		return nil, err
	}
	if b, err := hex.DecodeString(p.ID); err != nil || len(b) != 32 {
		return nil, errors.New("no id of the peer")
	}
	return newConn(nc, p), nc.SetDeadline(time.Time{})
}

// Accept waits for the next one.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close stops listening.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		err = l.l.Close()
		l.wg.Wait()
	})
	return err
}

// Addr is that of the socket.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }
