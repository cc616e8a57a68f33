package tune

import (
	"context"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// growBuffer asks for a receive buffer and returns what was granted. Root may exceed net.core.rmem_max.
func growBuffer(c *net.UDPConn, size int) (granted int) {
	c.SetReadBuffer(size)
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		granted, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return granted / 2 // the kernel doubles it for its own use, socket(7)
}

// watchHangup cancels when the reader of a pipe or socket leaves, so that a tuner is given back even while
// nothing comes in that could be written. stop ends it.
func watchHangup(f *os.File, cancel context.CancelCauseFunc) (stop func()) {
	i, err := f.Stat()
	if err != nil || i.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return func() {}
	}
	// A descriptor of its own, so that closing f meanwhile can not make this one watch another file.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	var wake [2]int
	if err := unix.Pipe2(wake[:], unix.O_CLOEXEC); err != nil {
		unix.Close(fd)
		return func() {}
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			fds := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(wake[0]), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err == unix.EINTR {
				continue
			} else if err != nil || fds[1].Revents != 0 {
				return
			}
			if fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				cancel(&os.PathError{Op: "write", Path: f.Name(), Err: unix.EPIPE})
				return
			}
		}
	})
	return func() {
		unix.Close(wake[1])
		done.Wait()
		unix.Close(wake[0])
		unix.Close(fd)
	}
}
