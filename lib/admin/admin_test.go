package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// coded is an error as other rooms have them.
type coded struct{ error }

func (coded) ExitCode() int { return 75 }
func (coded) Hint() string  { return "try later" }

// patience is long enough for a busy machine, and short enough to wait for.
const patience = 2 * time.Second

// serve runs a server on a folder until stop or the end of the test.
func serve(t *testing.T, dir string) (stop func()) {
	t.Helper()
	s := &Server{patience: patience}
	s.Handle("echo", func(_ context.Context, args json.RawMessage) (any, error) {
		return map[string]any{"v": 1, "args": args}, nil
	})
	s.Handle("busy", func(context.Context, json.RawMessage) (any, error) {
		return nil, fmt.Errorf("command: %w", coded{errors.New("busy")})
	})
	s.Handle("strict", func(_ context.Context, args json.RawMessage) (any, error) {
		var o struct {
			N int `json:"n"`
		}
		err := Arguments(args, &o)
		return o, err
	})
	s.Handle("broken", func(context.Context, json.RawMessage) (any, error) { return func() {}, nil })
	l, err := Listen(filepath.Join(dir, SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func call(t *testing.T, dir, name string, args any) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := Call(ctx, dir, name, args)
	return strings.TrimSpace(string(b)), err
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir)
	for _, tt := range []struct {
		name string
		args any
		want string
		exit int
	}{
		{"", nil, `{"commands":["broken","busy","echo","strict"],"v":1}`, 0},
		{"echo", map[string]int{"n": 3}, `{"args":{"n":3},"v":1}`, 0},
		{"busy", nil, "command: busy", 75},
		{"nothing", nil, `no command "nothing", there are broken, busy, echo, strict`, 64},
		{"echo", []int{1}, "arguments: ", 64},
		{"echo", map[string]string{"long": strings.Repeat("x", maxArguments)}, "arguments: ", 64},
		{"broken", nil, "json: unsupported type", 1},
		{"strict", nil, `{"n":0}`, 0},
		{"strict", map[string]int{"n": 3}, `{"n":3}`, 0},
		{"strict", map[string]string{"n": "three"}, "arguments: json: cannot unmarshal string", 64},
		{"strict", map[string]int{"m": 3}, `arguments: json: unknown field "m"`, 64},
	} {
		got, err := call(t, dir, tt.name, tt.args)
		if e := (*Error)(nil); errors.As(err, &e) {
			if got = e.Text; e.ExitCode() != tt.exit || !strings.HasPrefix(got, tt.want) || tt.exit == 75 && e.Hint() != "try later" {
				t.Errorf("%s: %+v", tt.name, e)
			}
		} else if err != nil || tt.exit != 0 || got != tt.want {
			t.Errorf("%s: %s, %v", tt.name, got, err)
		}
	}
}

// TestMistakesAreTheCallers: wrong arguments are 400, what went wrong here is 500.
func TestMistakesAreTheCallers(t *testing.T) {
	s := &Server{}
	s.Handle("strict", func(_ context.Context, args json.RawMessage) (any, error) { return nil, Arguments(args, &struct{}{}) })
	s.Handle("busy", func(context.Context, json.RawMessage) (any, error) { return nil, coded{errors.New("busy")} })
	for name, want := range map[string]int{"strict": 400, "busy": 500} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("POST", "/"+name, strings.NewReader(`{"x":1}`)))
		if w.Code != want {
			t.Errorf("%s: %d, %s", name, w.Code, w.Body)
		}
	}
}

// TestSocketIsTheOwners: mode 0600, nothing else left in the folder, and gone at the end.
func TestSocketIsTheOwners(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, dir)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	st, err := list[0].Info()
	if err != nil || st.Name() != SocketFile || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	stop()
	if list, _ := os.ReadDir(dir); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
	_, err = call(t, dir, "echo", nil)
	if e := (*Error)(nil); !errors.As(err, &e) || e.Exit != 69 || e.HintText == "" {
		t.Errorf("nobody there: %v", err)
	}
}

// TestStaleSocket: what a killed relay left is told from one that answers, and is replaced; a file of another kind is not.
func TestStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketFile)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	_, err = call(t, dir, "echo", nil)
	if e := (*Error)(nil); !errors.As(err, &e) || e.Exit != 69 {
		t.Errorf("stale: %v", err)
	}
	stop := serve(t, dir)
	if _, err := call(t, dir, "echo", nil); err != nil {
		t.Error(err)
	}
	stop()
	os.WriteFile(path, []byte("mine"), 0o600)
	if _, err := Listen(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file in its place: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Error("the file is gone")
	}
}

// TestLongPath: a folder deeper than the kernel's 108 bytes for a socket.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	if got, err := call(t, dir, "echo", nil); err != nil || got != `{"args":null,"v":1}` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestCrowd: those who say nothing keep others out only until their time is over, and garbage ends nothing.
func TestCrowd(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir)
	path := filepath.Join(dir, SocketFile)
	for range maxConnections - 1 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for _, garbage := range []string{"\x00\xff\n\n", "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET /" + strings.Repeat("x", 2*maxHeader) + " HTTP/1.1\r\n\r\n", "DELETE /echo HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		go io.WriteString(c, garbage)
		if b := make([]byte, 12); true {
			if _, err := io.ReadFull(c, b); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 4") {
				t.Errorf("%.20q: %q, %v", garbage, b, err)
			}
		}
		c.Close()
	}
	if _, err := call(t, dir, "echo", nil); err != nil {
		t.Error(err)
	}
	last, err := net.Dial("unix", path) // takes the last place
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if _, err := call(t, dir, "echo", nil); err != nil { // when the first has lost its own
		t.Error(err)
	}
}
