package client

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/ticket"
)

// What is in a file need not be on the command line, where all see it; nor is it in an error.
func TestFromFile(t *testing.T) {
	tk := (&ticket.Ticket{Addresses: []string{"moqt://relay:4443"}, Secret: ticket.NewSecret()}).String()
	path := filepath.Join(t.TempDir(), "ticket")
	for content, want := range map[string]string{
		tk + "\n": tk, "\n  " + tk + " \r\nsecond line\n": tk, "moqt://relay:4443": "moqt://relay:4443",
		"": "", " \n": "", "half" + tk[:30]: "", tk[:len(tk)-1] + "\n": "", strings.Repeat("x", maxAddressFile) + "\n" + tk: "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := FromFile("@"+path, nil)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v", content, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), tk[4:24])) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	if _, err := FromFile("@"+path+".none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	os.WriteFile(path, []byte(tk), 0o600)
	list, err := FromFiles([]string{"unix:///@socket", "@" + path}, nil)
	if err != nil || !slices.Equal(list, []string{"unix:///@socket", tk}) {
		t.Errorf("%v, %v", list, err)
	}
}

// What is no file is waited for, but not for ever: a pipe whose writer says nothing, and one that has none.
func TestFromPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := FromFile("@"+path, nil); err == nil || !strings.Contains(err.Error(), path+": nothing is in it") {
		t.Errorf("no writer: %q, %v", got, err)
	}
	both, err := os.OpenFile(path, os.O_RDWR, 0) // opens without waiting
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := firstLine(r, time.Millisecond); err == nil || !strings.Contains(err.Error(), "no line came from it within 1ms") {
		t.Errorf("a silent writer: %q, %v", got, err)
	}
	if _, err := both.WriteString("moqt://relay:4443\nand more"); err != nil { // and the writer stays
		t.Fatal(err)
	}
	if got, err := FromFile("@"+path, nil); err != nil || got != "moqt://relay:4443" {
		t.Errorf("a line: %q, %v", got, err)
	}
}

// Who keeps a ticket where others may read it is told; an address is no secret.
func TestFromFileOfOthers(t *testing.T) {
	tk := (&ticket.Ticket{Addresses: []string{"moqt://relay:4443"}, Secret: ticket.NewSecret()}).String()
	path := filepath.Join(t.TempDir(), "ticket")
	for _, c := range []struct {
		content string
		mode    fs.FileMode
		told    int
	}{{tk, 0o644, 1}, {tk, 0o640, 1}, {tk, 0o600, 0}, {tk, 0o400, 0}, {"moqt://relay:4443", 0o644, 0}} {
		if err := errors.Join(os.WriteFile(path, []byte(c.content), 0o600), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		if _, err := FromFile("@"+path, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Error(err)
		}
		if strings.Count(log.String(), "others may read this ticket") != c.told || strings.Contains(log.String(), tk) {
			t.Errorf("%#o: %s", c.mode, log.String())
		}
		os.Remove(path)
	}
}
