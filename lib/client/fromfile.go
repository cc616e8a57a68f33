package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ticket"
)

// maxAddressFile bounds the file of an address or a ticket, in bytes.
const maxAddressFile = 16 << 10

// FromFile replaces @FILE by the first line of the file, an address or a ticket: the command line of a process is for everybody on
// its machine to see, and a ticket is not. Everything else stays.
func FromFile(relay string) (string, error) {
	name, is := strings.CutPrefix(relay, "@")
	if !is {
		return relay, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAddressFile))
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	text := string(bytes.TrimSpace(line))
	err = CheckURL(text)
	switch {
	case err == nil:
		return text, nil
	case ticket.Is(text):
		return "", fmt.Errorf("%s: %w", name, err)
	}
	// What is there may be secret all the same, and is not shown.
	return "", &Error{name, errors.New("its first line is neither an address nor a ticket"), exit.Usage, "ec-relay ticket prints one, where the relay runs"}
}

// FromFiles is FromFile of each.
func FromFiles(relays []string) (list []string, err error) {
	for _, r := range relays {
		if r, err = FromFile(r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
