// Package cmdutil is the contract every ec-* command keeps: flags in, an exit code, and at most one error and
// one hint on stderr out. stdout belongs to data alone.
//
// A command is a *cli.App from [App] with flags and an Action; [Main] runs it:
//
//	func main() { cmdutil.Main(app()) }
//
// Main alone ends the process. It turns errors into the exit codes of sysexits.h (see the constants), SIGINT,
// SIGTERM and SIGHUP into a cancelled context, a closed stdout into a quiet end, and a panic into exit 70.
// Every flag --foo-bar of ec-x can be set as EC_X_FOO_BAR or EC_FOO_BAR; the flag wins, then the first of these.
//
// urfave/cli v2 prints usage errors to stdout and takes flags after the first argument for arguments; both are
// corrected here.
package cmdutil

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
)

// App returns an app to which a command adds its flags, ArgsUsage, Description and Action. Main adds what all
// commands share: --log, -v, --version, --help and --completion.
func App(name, usage string) *cli.App {
	return &cli.App{
		Name:     name,
		HelpName: name,
		Usage:    usage,
		Reader:   os.Stdin,
		Writer:   os.Stdout,
	}
}

// Main runs app with the process's arguments and ends the process.
func Main(app *cli.App) { os.Exit(run(app, os.Args)) }

// signalled is the cause of a context that a signal cancelled.
type signalled struct{ sig syscall.Signal }

func (s signalled) Error() string { return s.sig.String() }

// run is Main without the exit.
func run(app *cli.App, args []string) (code int) {
	t := newTerminal(os.Stderr)
	prepare(app, t)
	t.json = asksJSON(app.Name, args)
	log.SetFlags(0)
	log.SetOutput(libraryLog(t))

	app.Metadata[argumentsKey] = args
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	hangup := new(hangups)
	app.Metadata[hangupKey] = hangup
	stop := watchSignals(cancel, hangup)
	defer stop()

	defer func() {
		if r := recover(); r != nil {
			t.clear()
			tellBug(t, app.Name, r)
			code = exit.Bug
		}
	}()

	err := start(ctx, app, args)
	t.clear()
	return report(t, app.Name, context.Cause(ctx), err)
}

// start runs the app, or prints what --help, --version and --completion ask for.
func start(ctx context.Context, app *cli.App, args []string) error {
	args, ask, err := scan(app, args)
	switch {
	case err != nil:
		return err
	case ask.help:
		return writeHelp(app.Writer, app)
	case ask.version:
		_, err := fmt.Fprintln(app.Writer, app.Name, VersionLong())
		return err
	case ask.completion != "":
		return writeCompletion(app.Writer, app, ask.completion)
	}
	return app.RunContext(ctx, args)
}

// report prints err once and returns the exit code.
func report(t *terminal, name string, cause, err error) int {
	var sig signalled
	bySignal := errors.As(cause, &sig)
	switch {
	case err == nil && !bySignal:
		return exit.OK
	case isStdoutClosed(err):
		// The reader has enough, as in "| head": quiet, and the status a shell reports for cat.
		return 128 + int(syscall.SIGPIPE)
	case bySignal && (err == nil || errors.Is(err, context.Canceled) || errors.As(err, &sig)):
		return 128 + int(sig.sig)
	}
	code := ExitCode(err)
	if bySignal {
		code = 128 + int(sig.sig)
	}
	tell(t, name, oneLine(err.Error()), oneLine(exit.Hint(err)), code)
	return code
}

// tell writes the error that ends a program, and its hint: two lines for people, or with --log json one log line.
func tell(t *terminal, name, err, hint string, code int) {
	if t.json {
		attrs := []any{"err", err, "code", code}
		if hint != "" {
			attrs = append(attrs, "hint", hint)
		}
		jsonLogger(t, slog.LevelInfo).Error("ended", attrs...)
		return
	}
	fmt.Fprintf(t, "%s: error: %s\n", name, err)
	if hint != "" {
		fmt.Fprintf(t, "%s: hint: %s\n", name, hint)
	}
}

// tellBug writes the panic that ends a program, with what a report of it needs.
func tellBug(t *terminal, name string, panicked any) {
	if t.json {
		jsonLogger(t, slog.LevelInfo).Error("ended", "err", fmt.Sprintf("internal error: %v", panicked), "code", exit.Bug,
			"hint", "this is a bug; please report it with this line", "version", Version(), "stack", string(debug.Stack()))
		return
	}
	fmt.Fprintf(t, "%s: error: internal error: %v\n", name, panicked)
	fmt.Fprintf(t, "%s: hint: this is a bug; please report it with the lines below\n%s %s\n%s", name, name, Version(), debug.Stack())
}

// oneLine joins the lines of a joined error and drops control characters, which what a stranger sent may hold.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

// watchSignals cancels with the first SIGINT, SIGTERM or SIGHUP; the second one kills, because the default
// action is back. SIGPIPE is caught so that a write to a closed stdout is an error, and devices can be
// released, rather than a sudden end. (Not ignored: children would inherit that.) A command that reads its configuration again takes SIGHUP for
// that, with Hangup.
func watchSignals(cancel context.CancelCauseFunc, hangup *hangups) (stop func()) {
	ends := make(chan os.Signal, 1)
	pipe := make(chan os.Signal, 1) // never read: once full, signals are dropped, which is all we want
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-ends:
				if s == syscall.SIGHUP && hangup.take(s) {
					continue
				}
				signal.Stop(ends)
				cancel(signalled{s.(syscall.Signal)})
			case <-done:
			}
			return
		}
	}()
	return func() { close(done); signal.Stop(ends); signal.Stop(pipe) }
}
