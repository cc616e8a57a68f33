package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
)

// SocketFile is the socket's name in the folder of a store.
const SocketFile = "admin.sock"

// Bounds of what one user may cost.
const (
	maxConnections = 16       // more wait
	maxArguments   = 64 << 10 // bytes
	maxHeader      = 16 << 10 // bytes
	requestTimeout = 10 * time.Second
	answerTimeout  = time.Minute // of a command, and then of its record
)

// Func runs a command. args is a JSON object or nil; the returned value is written as JSON. An error may have an ExitCode and a
// Hint.
type Func func(ctx context.Context, args json.RawMessage) (any, error)

// Server knows the commands. The zero value is ready; methods may be called concurrently.
type Server struct {
	// Logger gets commands that failed, at debug level. Default: none.
	Logger *slog.Logger

	patience time.Duration // with a request, 0: requestTimeout

	mu       sync.RWMutex // guards commands
	commands map[string]Func
}

// Handle adds a command. The name is one word of letters, digits and dashes.
func (s *Server) Handle(name string, f Func) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commands == nil {
		s.commands = make(map[string]Func)
	}
	s.commands[name] = f
}

func (s *Server) command(name string) Func {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.commands[name]
}

// names returns the names of all commands, in order.
func (s *Server) names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]string, 0, len(s.commands))
	for name := range s.commands {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Listen makes the socket, with mode 0600 from its first moment. One that is there already is replaced: the caller holds the
// folder's lock, so nobody listens there. Any other file is left alone, and an error.
func Listen(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s: %w, and no socket", path, fs.ErrExist)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".admin-*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, SocketFile)
	short, done, err := shorten(made)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name is another now
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &listener{l, path}, nil
}

// listener removes its socket with Close.
type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error { return errors.Join(l.Listener.Close(), os.Remove(l.path)) }

// maxPath is how long the path of a socket may be (unix(7), sun_path).
const maxPath = 100

// shorten gives a path by which a socket can be bound or dialed until done is called, however long its own is.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

type whoKey struct{}

// Who names the user who gave a command, to the function that runs the command: "uid 0".
func Who(ctx context.Context) string {
	if who, _ := ctx.Value(whoKey{}).(string); who != "" {
		return who
	}
	return "operator"
}

// whoIs names the user at the other end of a connection.
func whoIs(c net.Conn) string {
	if in, ok := c.(*counted); ok {
		c = in.Conn
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ""
	}
	return userOf(raw)
}

// Serve answers on a listener until ctx ends, and closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	patience := cmp.Or(s.patience, requestTimeout)
	h := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader, ReadTimeout: patience, WriteTimeout: answerTimeout, IdleTimeout: patience,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, whoKey{}, whoIs(c))
		},
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	err := h.Serve(&limited{Listener: l, slots: make(chan struct{}, maxConnections)})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// limited has no more than so many connections at a time; others wait in the queue of the socket.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{c, sync.OnceFunc(func() { <-l.slots })}, nil
}

type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	defer c.done()
	return c.Conn.Close()
}

// ServeHTTP runs a command.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.fail(w, http.StatusMethodNotAllowed, errors.New("a command is a GET or POST"))
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		s.answer(w, map[string]any{"v": 1, "commands": s.names()})
		return
	}
	f := s.command(name)
	if f == nil {
		s.fail(w, http.StatusNotFound, fmt.Errorf("no command %q, there are %s", name, strings.Join(s.names(), ", ")))
		return
	}
	args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArguments))
	if err != nil {
		s.fail(w, http.StatusRequestEntityTooLarge, fmt.Errorf("arguments: %w", err))
		return
	}
	if len(args) == 0 {
		args = nil
	} else {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(args, &object); err != nil {
			s.fail(w, http.StatusBadRequest, fmt.Errorf("arguments: %w", err))
			return
		}
	}
	record, err := f(r.Context(), args)
	if err != nil {
		status := http.StatusInternalServerError
		if code, _ := exit.Of(err); code == exit.Usage {
			status = http.StatusBadRequest
		}
		s.fail(w, status, err)
		return
	}
	s.answer(w, record)
}

// Arguments reads those of a command into a struct. What the struct has no field for, or another type, is the caller's mistake.
func Arguments(args json.RawMessage, into any) error {
	if args == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &Error{V: 1, Text: fmt.Sprintf("arguments: %v", err), Exit: exit.Usage}
	}
	return nil
}

func (s *Server) answer(w http.ResponseWriter, record any) {
	b, err := json.Marshal(record)
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

func (s *Server) fail(w http.ResponseWriter, status int, err error) {
	if s.Logger != nil {
		s.Logger.Debug("command of the operator", "err", err)
	}
	code, _ := exit.Of(err)
	e := Error{V: 1, Text: err.Error(), Exit: code, HintText: exit.Hint(err)}
	if status != http.StatusInternalServerError {
		e.Exit = exit.Usage
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b, _ := json.Marshal(e)
	w.Write(append(b, '\n'))
}

// Error is the record of a command that failed.
type Error struct {
	V        int    `json:"v"`
	Text     string `json:"error"`
	HintText string `json:"hint,omitempty"`
	Exit     int    `json:"exit"` // code of the command that asked, as the README has them

	cause error
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.cause }
func (e *Error) ExitCode() int { return cmp.Or(e.Exit, 1) }
func (e *Error) Hint() string  { return e.HintText }
