package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"every.channel/ec/lib/hdhr"
)

// source opens connections to one source. open is called again after a failure of a live one.
type source interface {
	live() bool
	open(ctx context.Context) (connection, error)
}

// connection is an open source. Close gives back whatever it holds and unblocks Read.
type connection struct {
	io.ReadCloser
	service
	// signal asks the tuner how well it receives; nil: there is no tuner to ask.
	signal func(ctx context.Context) (t hdhr.TunerInfo, ok bool)
	// report, if not nil, tells what the source itself saw being lost so far.
	report func() losses
	// ends: its end is no failure, though it is live.
	ends bool
	// sniff: it may turn out not to be a transport stream.
	sniff bool
}

// service is what a lineup says about the program that is received; zero where there is no lineup.
type service struct {
	name, channel string
	tuned         bool
	program       int // 0: unknown
	tsid, onid    int // −1: unknown
}

// losses are counted by a source.
type losses struct{ datagrams, reordered, malformed int64 }

func newSource(cfg *Config) (source, error) {
	a := cfg.Address
	if a.Kind != File && (cfg.Pace || cfg.Loop) {
		return nil, usageError("%s: only a file can be paced or looped", a)
	}
	switch a.Kind {
	case Stdin:
		if cfg.Stdin == nil {
			return nil, usageError("no stdin")
		}
		return &stdinSource{cfg.Stdin, cfg.Duration > 0}, nil
	case File:
		return &fileSource{path: a.Path, pace: cfg.Pace, loop: cfg.Loop, log: cfg.Log}, nil
	case HTTP:
		return &httpSource{url: a.URL}, nil
	case UDP:
		return &udpSource{addr: a, log: cfg.Log}, nil
	}
	if a.Device == "" && cfg.Device != "" {
		device, err := parseDevice(cfg.Device)
		if err != nil {
			return nil, err
		}
		a.Device = device
	}
	return &channelSource{addr: a, log: cfg.Log}, nil
}

// stdinSource reads what it is given. Where a duration may end before a Read does, a goroutine reads
// ahead, and is left behind: nothing ends a Read of a pipe or a terminal for certain.
type stdinSource struct {
	r     io.Reader
	ahead bool
}

func (s *stdinSource) live() bool { return false }

func (s *stdinSource) open(context.Context) (connection, error) {
	if !s.ahead {
		return connection{ReadCloser: io.NopCloser(s.r), sniff: true}, nil
	}
	r := newRing(2 * blockSize)
	go func() {
		buf := make([]byte, blockSize)
		for {
			n, err := s.r.Read(buf)
			if _, werr := r.Write(buf[:n]); werr != nil {
				return
			}
			if err != nil {
				r.close(err)
				return
			}
		}
	}()
	return connection{ReadCloser: r, sniff: true}, nil
}

// httpSource is live unless the server says how long the stream is. A stream without a length that is
// brought to its end in order, other than a tuner's, is not asked for again: it may be a file.
type httpSource struct {
	url    string
	client hdhr.Client
	finite bool
}

func (s *httpSource) live() bool { return !s.finite }

func (s *httpSource) open(ctx context.Context) (connection, error) {
	st, err := s.client.Open(ctx, s.url)
	if err != nil {
		return connection{}, err
	}
	c := connection{ReadCloser: st, sniff: true, service: service{tsid: -1, onid: -1}, ends: st.Marked && st.Resource == ""}
	if s.finite = st.Length >= 0; s.finite {
		c.ReadCloser = exactly{st, st.Length, new(int64)}
	}
	return c, nil
}

// exactly ends with io.EOF only after so many bytes.
type exactly struct {
	io.ReadCloser
	want int64
	had  *int64
}

func (e exactly) Read(b []byte) (int, error) {
	n, err := e.ReadCloser.Read(b)
	*e.had += int64(n)
	if err == io.EOF && *e.had < e.want {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("connection broke after %d of %d bytes: %w", *e.had, e.want, io.ErrUnexpectedEOF)
	}
	return n, err
}

func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if i, err := f.Stat(); err == nil && i.IsDir() {
		f.Close()
		return nil, usageError("%s is a folder", path)
	}
	return f, nil
}
