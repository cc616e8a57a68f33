package cmdutil

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe is asked to hold: the most that Linux grants everyone. With the usual 64 KiB, tools at
// both ends of a fast pipe spend their time waking each other.
const pipeSize = 1 << 20

// widen lets f hold more if it is a pipe. What the system refuses stays as it was.
func widen(f *os.File) {
	if st, err := f.Stat(); err == nil && st.Mode()&os.ModeNamedPipe != 0 {
		unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	}
}
