package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"

	"every.channel/ec/lib/exit"
)

// maxRecord bounds a record, in bytes.
const maxRecord = 256 << 20

// ErrNoRelay: nobody answers for the folder.
var ErrNoRelay = errors.New("no relay runs")

// Call has the relay with a store in dir run a command and returns its record. args is written as JSON; nil: none.
func Call(ctx context.Context, dir, name string, args any) (json.RawMessage, error) {
	path := filepath.Join(dir, SocketFile)
	var body io.Reader
	if args != nil {
		b, err := json.Marshal(args)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, done, err := shorten(path)
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", short)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://relay/"+name, body)
	if err != nil {
		return nil, err
	}
	res, err := tr.RoundTrip(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, &Error{cause: ErrNoRelay, Text: fmt.Sprintf("no relay runs with its store in %s", dir), HintText: "--store DIR names the folder of the relay that is meant", Exit: exit.Unreachable}
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Text: fmt.Sprintf("%s: permission denied", path), HintText: "the relay's own user may ask, and root", Exit: exit.NotAllowed}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		e := new(Error)
		if err := json.Unmarshal(b, e); err != nil || e.Text == "" {
			return nil, fmt.Errorf("%s: %s", path, res.Status)
		}
		return nil, e
	}
	return b, nil
}
