package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/ticket"
)

// maxAddressFile bounds the bytes that are read from the file of an address or a ticket. linePatience is how long a pipe or a
// terminal in its place may take for the line.
const (
	maxAddressFile = 16 << 10
	linePatience   = 30 * time.Second
)

// FromFile replaces @FILE by the first line of the file, an address or a ticket: the command line of a process is for everybody on
// its machine to see, and a ticket is not. Everything else stays. That others may read the file is said to log, nil for nobody.
func FromFile(relay string, log *slog.Logger) (string, error) {
	name, is := strings.CutPrefix(relay, "@")
	if !is {
		return relay, nil
	}
	// A named pipe that nobody writes would else not even be opened.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	text, err := firstLine(f, linePatience)
	if err != nil {
		return "", err
	}
	err = CheckURL(text)
	if ticket.Is(text) && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0 && !keys.Credential(name) && log != nil {
		log.Warn("others may read this ticket", "file", name, "mode", fmt.Sprintf("%#o", st.Mode().Perm()), "hint", "chmod 600 "+name)
	}
	switch {
	case err == nil:
		return text, nil
	case ticket.Is(text):
		return "", fmt.Errorf("%s: %w", name, err)
	case text == "":
		return "", &Error{name, errors.New("nothing is in it"), exit.Usage, "ec-relay ticket prints a ticket, where the relay runs"}
	}
	// What is there may be secret all the same, and is not shown.
	return "", &Error{name, errors.New("its first line is neither an address nor a ticket"), exit.Usage, "ec-relay ticket prints one, where the relay runs"}
}

// SecretFromFile replaces @FILE by the first line of the file, whatever that is. Everything else stays.
func SecretFromFile(text string, log *slog.Logger) (string, error) {
	t, err := NewToken(text, "", log)
	if err != nil {
		return "", err
	}
	return t.read()
}

// firstLine is the first line of f that is not blank, without space around it; less if f ends before.
func firstLine(f *os.File, patience time.Duration) (string, error) {
	f.SetReadDeadline(time.Now().Add(patience)) // of a file there is none, and no need
	var b []byte
	for len(b) < maxAddressFile {
		piece := make([]byte, maxAddressFile-len(b))
		n, err := f.Read(piece)
		b = append(b, piece[:n]...)
		switch {
		case errors.Is(err, io.EOF), bytes.Contains(bytes.TrimLeft(b, " \t\r\n"), []byte("\n")):
			line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
			return string(bytes.TrimSpace(line)), nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", &Error{f.Name(), fmt.Errorf("no line came from it within %v", patience), exit.Usage, "a ticket can lie in a file that only you may read"}
		case err != nil:
			return "", err
		}
	}
	return "", &Error{f.Name(), fmt.Errorf("its first line is longer than %d bytes", maxAddressFile), exit.Usage, "ec-relay ticket prints a ticket in one line"}
}

// FromFiles is FromFile of each.
func FromFiles(relays []string, log *slog.Logger) (list []string, err error) {
	for _, r := range relays {
		if r, err = FromFile(r, log); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
