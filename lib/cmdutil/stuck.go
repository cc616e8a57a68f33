package cmdutil

import (
	"context"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
)

// writeGrace is how long a write to stdout may still take after a signal. A write to a pipe whose reader has stopped takes for ever.
const writeGrace = 2 * time.Second

// watched counts the beginnings and ends of writes.
type watched struct {
	w io.Writer
	n atomic.Uint64 // odd during a write
}

func (w *watched) Write(b []byte) (int, error) {
	w.n.Add(1)
	defer w.n.Add(1)
	return w.w.Write(b)
}

// watchWrites returns f, whose writes end with the process if one is under way for writeGrace after a signal.
func watchWrites(c *cli.Context, f *os.File) io.Writer {
	w := &watched{w: f}
	context.AfterFunc(c.Context, func() {
		cause, ok := context.Cause(c.Context).(signalled)
		for ok {
			n := w.n.Load()
			time.Sleep(writeGrace)
			if n%2 == 1 && n == w.n.Load() {
				Logger(c).Error("the reader of stdout has stopped: what was not written is lost")
				os.Exit(128 + int(cause.sig))
			}
		}
	})
	return w
}
