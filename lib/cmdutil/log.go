package cmdutil

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

const terminalKey = "cmdutil.terminal"

// terminal is stderr with at most one status line at its end, which log lines push down.
type terminal struct {
	isTerminal bool
	width      func() int
	json       bool // errors are JSON

	mu     sync.Mutex // guards what follows
	w      io.Writer
	status string
}

func newTerminal(f *os.File) *terminal {
	return &terminal{
		isTerminal: term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb",
		width: func() int {
			w, _, err := term.GetSize(int(f.Fd()))
			if err != nil || w < 20 {
				return 80
			}
			return w
		},
		w: f,
	}
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status == "" {
		return t.w.Write(p)
	}
	if _, err := io.WriteString(t.w, eraseLine); err != nil {
		return 0, err
	}
	n, err := t.w.Write(p)
	if err == nil {
		_, err = io.WriteString(t.w, t.status)
	}
	return n, err
}

const eraseLine = "\r\x1b[K"

func (t *terminal) set(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isTerminal {
		return
	}
	if r, w := []rune(s), t.width()-1; len(r) > w {
		s = string(r[:w])
	}
	if s == t.status {
		return
	}
	t.status = s
	io.WriteString(t.w, eraseLine+s)
}

func (t *terminal) clear() { t.set("") }

func terminalOf(c *cli.Context) *terminal {
	if t, ok := c.App.Metadata[terminalKey].(*terminal); ok {
		return t
	}
	return newTerminal(os.Stderr)
}

// Logger is the log on stderr as --log and -v want it.
func Logger(c *cli.Context) *slog.Logger { return LoggerAt(c, Level(c)) }

// Level is how much is logged as -v wants it.
func Level(c *cli.Context) slog.Level {
	if c.Bool("verbose") {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// LoggerAt is Logger with a level of its own, which may change.
func LoggerAt(c *cli.Context, level slog.Leveler) *slog.Logger {
	if c.String("log") == "json" {
		return jsonLogger(terminalOf(c), level)
	}
	return slog.New(slog.NewTextHandler(terminalOf(c), &slog.HandlerOptions{Level: level}))
}

// jsonLogger writes log lines as JSON, in which addresses, durations and whatever else has a text are that text, as in the other form.
func jsonLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindDuration:
			a.Value = slog.StringValue(a.Value.Duration().String())
		case slog.KindAny:
			a.Value = slog.AnyValue(texts(a.Value.Any()))
		}
		return a
	}}))
}

// texts replaces structures that JSON would take apart by what they print as, also in a list.
func texts(v any) any {
	switch v := v.(type) {
	case error, json.Marshaler, encoding.TextMarshaler:
		return v
	case fmt.Stringer:
		return v.String()
	}
	list := reflect.ValueOf(v)
	if !list.IsValid() || list.Kind() != reflect.Slice || list.Type().Elem().Kind() != reflect.Interface && !list.Type().Elem().Implements(reflect.TypeFor[fmt.Stringer]()) {
		return v
	}
	all := make([]any, list.Len())
	for i := range all {
		all[i] = texts(list.Index(i).Interface())
	}
	return all
}

// libraryLog takes the lines that libraries write with package log: as warnings.
func libraryLog(t *terminal) io.Writer {
	if t.json {
		return slog.NewLogLogger(jsonLogger(t, slog.LevelInfo).Handler(), slog.LevelWarn).Writer()
	}
	return slog.NewLogLogger(slog.NewTextHandler(t, nil), slog.LevelWarn).Writer()
}

// asksJSON reports whether --log json, or its variable, stands among arguments that may be wrong, so that what is said of them is JSON, too.
func asksJSON(app string, args []string) bool {
	var log string
	for _, name := range envNames(app, "log") {
		log = cmp.Or(log, os.Getenv(name))
	}
	for i, a := range args {
		name, value, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !looksLikeFlag(a) || name != "log" {
			continue
		}
		if !inline && i+1 < len(args) {
			value = args[i+1]
		}
		log = value
	}
	return log == "json"
}

// Status is one line at the end of stderr that is drawn anew with each Set. It shows only on a terminal, never with --log json, and never
// if stdout is a pipe: the program at its other end writes on the same terminal. Safe for several goroutines.
type Status struct{ t *terminal }

// StatusLine returns the status line of the command.
func StatusLine(c *cli.Context) Status {
	if c.String("log") == "json" || isPipe(c.App.Writer) {
		return Status{}
	}
	return Status{terminalOf(c)}
}

func isPipe(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeNamedPipe != 0
}

// Visible tells whether Set shows anything, so that callers can skip the work.
func (s Status) Visible() bool { return s.t != nil && s.t.isTerminal }

// Set redraws the line; control characters, which a remote label may hold, are dropped.
func (s Status) Set(format string, args ...any) {
	if !s.Visible() {
		return
	}
	s.t.set(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, fmt.Sprintf(format, args...)))
}

// Clear removes the line. Main does so at the end.
func (s Status) Clear() {
	if s.t != nil {
		s.t.clear()
	}
}
