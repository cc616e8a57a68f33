package sub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Config says what to read and how patient to be.
type Config struct {
	// Relays are addresses, as moqt.Dial takes them. All are read at once: each object is taken from
	// whichever brings it first, so that the loss of a relay is not seen while another one has the track.
	Relays []string
	// Token is shown to the relays. Default: none is.
	Token *client.Token
	// Iroh dials the relays of tickets over iroh. Default: tickets are used over their addresses.
	Iroh client.DialIroh
	// TLS says whom to trust; nil is the system's certificates.
	TLS *tls.Config
	// Versions are the drafts to offer. Default: all that are spoken.
	Versions []moqt.Version
	// NoRepair is as in moqt.Config. Default: what a path loses is made good.
	NoRepair bool
	// Names are written names of namespaces or tracks. A namespace stands for the current ts track of its catalog. What no namespace is
	// called is looked for in what receivers call their channels: 5.1, or a callsign.
	Names []string
	// From and To bound what is read. Default: from the start of the group that is being sent, without end.
	From, To Point
	// Duration ends after so much media, by presentation time where objects have one, else by the clock. 0: no end.
	Duration time.Duration
	// ExitAtEnd ends with the track. Otherwise a track that ended, because its publishers left, is waited for.
	ExitAtEnd bool
	// Idle ends when nothing came for so long. 0: never.
	Idle time.Duration
	// TS writes bare payloads instead of framed objects.
	TS bool
	// Verify checks each object against its hash and drops those that do not match.
	Verify bool
	// AllowGaps makes it no error that groups or objects are missing. They are counted and logged all the same.
	AllowGaps bool
	// Nearest takes the nearest place that is there for one that is not. What is missing at the edges is then not missing.
	Nearest bool
	// Reorder is how long to wait for what is missing once something newer is here. Default 2 s.
	Reorder time.Duration
	// Buffer bounds the payload held to bring objects into order. Default 64 MiB.
	Buffer int64
	// RetryStart and RetryLost are as in client.Config; an unknown track is tried again like a relay.
	RetryStart, RetryLost time.Duration
	// Dial replaces moqt.Dial, for a relay in the same process.
	Dial func(ctx context.Context, url string, tlsConf *tls.Config, conf *moqt.Config) (*moqt.Session, error)
	// QLogDir is where sessions are logged, as moqt.Config.QLogDir. Default: nowhere.
	QLogDir string
	// Log gets events. Default: none.
	Log *slog.Logger
	// First is called with the track and the group of the first object, before it is written, and again when the broadcast goes on in
	// another track.
	First func(t object.TrackName, group uint64)
	// Progress is called about twice a second and at the end.
	Progress func(Stats)

	// silence is how long nothing must come before the catalog is asked whether the broadcast moved. Default 5 s.
	silence time.Duration
}

const (
	defaultReorder = 2 * time.Second
	defaultBuffer  = 64 << 20
	defaultSilence = 5 * time.Second
)

// Stats counts what happened on all tracks.
type Stats struct {
	// Repair tells of the paths from the relays, for a person: what they lose and what was made good. "" if nothing was.
	Repair                 string
	Groups, Objects, Bytes int64
	Group                  uint64 // the newest one written
	MissingGroups          int64  // that were asked for and did not come
	MissingObjects         int64
	Unpublished            int64 // groups that receivers had and did not publish in the track, or not all of them
	Mismatches             int64 // objects dropped because their hash did not match
	NoHash                 int64 // objects that could not be verified
	Healed                 int64 // objects that were missing and then fetched
	Sessions               int64
}

// ErrMismatch says that objects did not match their hash.
var ErrMismatch error = mismatch{}

type mismatch struct{}

func (mismatch) Error() string { return "objects did not match their hash" }
func (mismatch) ExitCode() int { return 65 }

// ErrNothing says that there is not one object of what was asked for.
var ErrNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string { return "nothing came: the relay has nothing of what was asked for" }
func (nothing) ExitCode() int { return 69 }
func (nothing) Hint() string  { return "ec-sub --list RELAY shows which groups are there" }

// unknownTrack is a track or namespace that the relay does not know.
type unknownTrack struct {
	name string
	err  error
}

func (u *unknownTrack) Error() string {
	if u.err == nil {
		return "nothing known of " + u.name
	}
	return fmt.Sprintf("nothing known of %s: %v", u.name, u.err)
}
func (u *unknownTrack) Unwrap() []error { return []error{u.err, client.ErrAgain} }
func (u *unknownTrack) ExitCode() int   { return 69 }
func (u *unknownTrack) Hint() string {
	return "ec-sub --list RELAY shows what is there; --retry TIME waits for what is to come"
}

// usageError is a request that makes no sense.
type usageError struct{ error }

func (usageError) ExitCode() int { return 64 }

// errDone ends everything: enough was written.
var errDone = errors.New("done")

// Run reads the named tracks to w until they end, ctx does, or enough was read.
func Run(ctx context.Context, c Config, w io.Writer) (Stats, error) {
	if c.Reorder <= 0 {
		c.Reorder = defaultReorder
	}
	if c.Buffer <= 0 {
		c.Buffer = defaultBuffer
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.silence <= 0 {
		c.silence = defaultSilence
	}
	c.silence = max(c.silence, 2*c.Reorder) // by then everything that came was written
	switch {
	case len(c.Relays) == 0:
		return Stats{}, usageError{errors.New("no relay to read from")}
	case len(c.Names) == 0:
		return Stats{}, usageError{errors.New("no name to read")}
	case c.TS && len(c.Names) > 1:
		return Stats{}, usageError{errors.New("a transport stream is one track, and several were named")}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rs := &relays{c: c, out: newOutput(c, w), end: cancel, failed: make([]error, len(c.Relays)), sessions: map[*client.Session]upSession{}}
	for _, name := range c.Names {
		t, hasTrack, err := object.ParseName(name)
		if err != nil && isLabel(name) {
			t, hasTrack, err = object.TrackName{}, false, nil
		}
		if err != nil {
			return Stats{}, exit.With(exit.Usage, err, "a name reads ec-atsc-2065-3; ec-sub --list RELAY shows which there are, and of which channels")
		}
		rs.pulls = append(rs.pulls, newPull(ctx, rs, name, t, hasTrack))
	}
	err := rs.run(ctx)
	missing := gapsError(rs.out.snapshot(), rs.pulls)
	stats := rs.out.snapshot()
	if c.Progress != nil {
		c.Progress(stats)
	}
	switch {
	case err != nil:
	case stats.Mismatches > 0:
		err = fmt.Errorf("%d %w and were left out", stats.Mismatches, ErrMismatch)
		if missing != nil && !c.AllowGaps {
			err = fmt.Errorf("%w; %w", err, missing)
		}
	case stats.Objects == 0:
		err = ErrNothing
	case !c.AllowGaps:
		err = missing
	}
	return stats, err
}

// refused turns a REQUEST_ERROR that says "not there" into an unknownTrack.
func refused(name string, err error) error {
	if r, ok := errors.AsType[*moqt.RequestError](err); ok {
		switch r.Code {
		case wire.RequestDoesNotExist, wire.RequestUninterested:
			return &unknownTrack{name, err}
		}
	}
	return err
}
