//go:build unix

package cmdutil

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pollReader waits for its file or for the end of a context, whichever comes first. A read of a pipe cannot
// be interrupted, and making the pipe non-blocking would change it for every process that shares it.
type pollReader struct {
	ctx  context.Context
	f    *os.File
	wake *os.File // readable once ctx is done
	fds  [2]unix.PollFd
}

func interruptible(ctx context.Context, f *os.File) (io.Reader, error) {
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		return f, nil // never blocks
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { w.Close() })
	fds := [2]unix.PollFd{
		{Fd: int32(f.Fd()), Events: unix.POLLIN}, // once: Fd makes a system call
		{Fd: int32(r.Fd()), Events: unix.POLLIN},
	}
	return &pollReader{ctx, f, r, fds}, nil
}

func (p *pollReader) Read(b []byte) (int, error) {
	for {
		switch _, err := unix.Poll(p.fds[:], -1); {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		}
		if p.fds[1].Revents != 0 {
			return 0, context.Cause(p.ctx)
		}
		return p.f.Read(b)
	}
}
