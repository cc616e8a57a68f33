package cmdutil

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Where app.Metadata has the arguments of the process, and who takes SIGHUP.
const (
	argumentsKey = "arguments"
	hangupKey    = "hangup"
)

// hangups takes SIGHUP, once somebody wants it.
type hangups struct {
	mu        sync.Mutex
	to        chan os.Signal // nil: nobody
	terminals []int          // descriptors that are terminals
}

// take hands on a signal, unless nobody wants it, or it means that the terminal is gone at which the command was started. One that waits already
// will do.
func (h *hangups) take(s os.Signal) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.to == nil || slices.ContainsFunc(h.terminals, func(fd int) bool { return !term.IsTerminal(fd) }) {
		return false
	}
	select {
	case h.to <- s:
	default:
	}
	return true
}

// Hangup gives SIGHUP to the command, which otherwise ends by it, as it still does when the terminal hangs up at which it was started.
func Hangup(c *cli.Context) <-chan os.Signal {
	h, ok := c.App.Metadata[hangupKey].(*hangups)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.to == nil {
		h.to = make(chan os.Signal, 1)
		for fd := range 3 {
			if term.IsTerminal(fd) {
				h.terminals = append(h.terminals, fd)
			}
		}
	}
	return h.to
}

// Again reads the arguments of a command that runs once more, and its environment, with a fresh app of the same command, and calls do with them.
// Nothing is printed.
func Again(ctx context.Context, c *cli.Context, fresh *cli.App, do func(*cli.Context) error) error {
	args, _ := c.App.Metadata[argumentsKey].([]string)
	if len(args) == 0 {
		args = []string{fresh.Name}
	}
	fresh.Action, fresh.Writer = do, io.Discard
	prepare(fresh, &terminal{w: io.Discard, width: func() int { return 80 }})
	args, _, err := scan(fresh, args)
	if err != nil {
		return err
	}
	return fresh.RunContext(ctx, args)
}
