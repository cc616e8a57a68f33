package hdhr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/exit"
)

// Client speaks a device's HTTP API. The zero value works.
type Client struct {
	// HTTP makes the requests; default: a client with a connect timeout of 5 s that neither follows a
	// proxy from the environment nor keeps connections, since an idle one to the stream port could keep
	// a tuner.
	HTTP *http.Client
	// Timeout bounds a request for JSON; default 5 s.
	Timeout time.Duration
}

// maxJSON bounds an answer: the largest cable lineup seen is well below 1 MB.
const maxJSON = 16 << 20

// Info is discover.json.
type Info struct {
	Name             string
	Model            string
	FirmwareName     string
	Firmware         string
	ID               DeviceID
	Tuners           int
	BaseURL          string
	LineupURL        string
	UpgradeAvailable string
}

// UnmarshalJSON reads discover.json leniently.
func (i *Info) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	*i = Info{}
	var id string
	for name, s := range map[string]*string{
		"FriendlyName": &i.Name, "ModelNumber": &i.Model, "FirmwareName": &i.FirmwareName,
		"FirmwareVersion": &i.Firmware, "DeviceID": &id, "BaseURL": &i.BaseURL, "LineupURL": &i.LineupURL,
		"UpgradeAvailable": &i.UpgradeAvailable,
	} {
		lenientString(fields[name], s)
	}
	lenientInt(fields["TunerCount"], &i.Tuners)
	if v, err := strconv.ParseUint(id, 16, 32); err == nil {
		i.ID = DeviceID(v)
	}
	return nil
}

// TunerInfo is an entry of status.json. Percentages are -1 where the device does not tell.
type TunerInfo struct {
	Resource      string // "tuner0"
	Number        string // virtual channel
	Name          string
	Frequency     int64
	Strength      int
	Quality       int
	SymbolQuality int
	NetworkRate   int64  // bit/s
	TargetIP      string // client
}

// UnmarshalJSON reads an entry of status.json leniently.
func (t *TunerInfo) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	*t = TunerInfo{Strength: -1, Quality: -1, SymbolQuality: -1}
	lenientString(fields["Resource"], &t.Resource)
	lenientString(fields["VctNumber"], &t.Number)
	lenientString(fields["VctName"], &t.Name)
	lenientString(fields["TargetIP"], &t.TargetIP)
	lenientInt(fields["Frequency"], &t.Frequency)
	lenientInt(fields["SignalStrengthPercent"], &t.Strength)
	lenientInt(fields["SignalQualityPercent"], &t.Quality)
	lenientInt(fields["SymbolQualityPercent"], &t.SymbolQuality)
	lenientInt(fields["NetworkRate"], &t.NetworkRate)
	return nil
}

// Info reads discover.json below a base URL.
func (c *Client) Info(ctx context.Context, base string) (Info, error) {
	var i Info
	err := c.getJSON(ctx, join(base, "/discover.json"), &i)
	return i, err
}

// Status reads status.json below a base URL.
func (c *Client) Status(ctx context.Context, base string) ([]TunerInfo, error) {
	var s []TunerInfo
	err := c.getJSON(ctx, join(base, "/status.json"), &s)
	return s, err
}

// Lineup reads a lineup: the URL of a lineup.json, or of a device, in which case ?tuning is asked for
// and missing base parts are filled in. skipped counts the entries that could not be read.
func (c *Client) Lineup(ctx context.Context, lineupURL string) (channels []Channel, skipped int, err error) {
	u, err := url.Parse(lineupURL)
	if err != nil {
		return nil, 0, fmt.Errorf("lineup: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/lineup.json"
	}
	if u.RawQuery == "" {
		u.RawQuery = "show=found&tuning"
	}
	b, err := c.get(ctx, u.String())
	if err != nil {
		return nil, 0, err
	}
	channels, skipped, err = ParseLineup(b)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", u, err)
	}
	return channels, skipped, nil
}

func join(base, path string) string { return strings.TrimSuffix(base, "/") + path }

func (c *Client) getJSON(ctx context.Context, url string, v any) error {
	b, err := c.get(ctx, url)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, url string) ([]byte, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client().Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, newStreamError(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if len(b) > maxJSON {
		return nil, fmt.Errorf("%s: answer longer than 16 MiB", url)
	}
	return b, nil
}

func (c *Client) client() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ResponseHeaderTimeout: 15 * time.Second,
		ReadBufferSize:        64 << 10,
	}}
}

// Stream is an open stream. Closing it gives the tuner back.
type Stream struct {
	io.ReadCloser
	Resource    string // "tuner0", where the device tells
	ContentType string
	Length      int64 // bytes; -1: not known, as of everything live
	// Marked: the end of the stream is told from a connection that broke, as in chunked coding.
	Marked bool
}

// Open opens the URL of a stream. A refusal is a *StreamError.
func (c *Client) Open(ctx context.Context, url string) (*Stream, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client().Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, newStreamError(resp)
	}
	return &Stream{resp.Body, resp.Header.Get("X-HDHomeRun-Resource"), resp.Header.Get("Content-Type"), resp.ContentLength,
		resp.ContentLength >= 0 || slices.Contains(resp.TransferEncoding, "chunked") || resp.ProtoMajor > 1}, nil
}

// StreamError is a device's or server's refusal. It unwraps to its Code where it has one.
type StreamError struct {
	URL    string
	Status int    // HTTP status
	Code   Code   // 0: none given
	Text   string // of X-HDHomeRun-Error
}

func newStreamError(resp *http.Response) *StreamError {
	e := &StreamError{URL: resp.Request.URL.Redacted(), Status: resp.StatusCode, Text: resp.Header.Get("X-HDHomeRun-Error")}
	digits, _, _ := strings.Cut(e.Text, " ")
	if n, err := strconv.Atoi(digits); err == nil {
		e.Code = Code(n)
	}
	return e
}

func (e *StreamError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("%s: refused: %s", e.URL, e.Code.String())
	}
	return fmt.Sprintf("%s: HTTP %d %s", e.URL, e.Status, http.StatusText(e.Status))
}

func (e *StreamError) Unwrap() error {
	if e.Code != 0 {
		return e.Code
	}
	return nil
}

// ExitCode is the exit code of a command that ends with this error.
func (e *StreamError) ExitCode() int {
	switch {
	case e.Code != 0:
		return e.Code.ExitCode()
	case e.Status == http.StatusServiceUnavailable, e.Status == http.StatusTooManyRequests:
		return exit.Busy
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return exit.NotAllowed
	}
	return exit.Unreachable
}

// AsCode finds a device's code in an error.
func AsCode(err error) (Code, bool) {
	var c Code
	ok := errors.As(err, &c)
	return c, ok
}
