package cmdutil

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// TestJSONLog: each value is one that people and programs can read: no structure of Go's own.
func TestJSONLog(t *testing.T) {
	var b bytes.Buffer
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4443}
	jsonLogger(&b, slog.LevelInfo).Info("ready", "listen", []net.Addr{at}, "one", at, "mask", net.IPMask{255, 0, 0, 0}, "pause", 1500*time.Millisecond,
		"err", errors.New("no"), "n", 3, "names", []string{"a"}, "none", nil, "group", slog.GroupValue(slog.Any("addr", at)))
	_, got, _ := strings.Cut(b.String(), `"msg":"ready",`)
	want := `"listen":["127.0.0.1:4443"],"one":"127.0.0.1:4443","mask":"ff000000","pause":"1.5s","err":"no","n":3,"names":["a"],"none":null,"group":{"addr":"127.0.0.1:4443"}}` + "\n"
	if got != want {
		t.Errorf("%s want %s", got, want)
	}
}

// TestLibraryLog: what a library writes with package log is a line of this log.
func TestLibraryLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	libraryLog(&terminal{w: w, json: true}).Write([]byte("buffer is small\n"))
	libraryLog(&terminal{w: w}).Write([]byte("buffer is small\n"))
	w.Close()
	var b bytes.Buffer
	b.ReadFrom(r)
	lines := strings.Split(b.String(), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], `"level":"WARN","msg":"buffer is small"}`) || !strings.HasSuffix(lines[1], `level=WARN msg="buffer is small"`) {
		t.Errorf("%q", lines)
	}
}

// TestStatusOfPipelines: of the programs of a pipeline on a terminal, the last one alone shows a status line.
func TestStatusOfPipelines(t *testing.T) {
	_, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var drawn bytes.Buffer
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	app := App("ec-x", "")
	app.Metadata = map[string]any{terminalKey: &terminal{isTerminal: true, width: func() int { return 80 }, w: &drawn}}
	for _, c := range []struct {
		out   *os.File
		shows bool
	}{{w, false}, {null, true}} {
		app.Writer = c.out
		drawn.Reset()
		StatusLine(cli.NewContext(app, nil, nil)).Set("3 groups")
		if (drawn.Len() > 0) != c.shows {
			t.Errorf("%q", drawn.String())
		}
	}
}
