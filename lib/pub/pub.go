package pub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/settings"
)

// Config says where to publish, and what to do when a relay is slow or gone.
type Config struct {
	// Relays are addresses as moqt.Dial takes them, such as moqt://host:port. Each gets everything.
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
	// Resend is how long a group that was sent stays in memory, counted from its last object, to be sent again after a loss. Groups that
	// were not sent stay as long as Memory has room. Default 30 s.
	Resend time.Duration
	// Memory bounds the payload in memory. Default 256 MiB, which is 110 s of 19 Mbit/s.
	Memory int64
	// Spool is a folder that keeps all groups on disk as well, for relays that miss some of them later. Default: none.
	Spool string
	// SpoolAge and SpoolBytes bound the folder; the oldest groups go. Default 0: no bound.
	SpoolAge   time.Duration
	SpoolBytes int64
	// Block lets the input wait when the memory is full of groups that were not sent. Without it, only an input that runs faster
	// than its own clock waits, as a file does; of a live input the oldest whole group is dropped.
	Block bool
	// Standby keeps the media back until a relay asks for them: only the tracks that tell what there is are sent by themselves.
	Standby bool
	// Drain bounds how long the end of input waits for delivery. Default 30 s.
	Drain time.Duration
	// RetryStart and RetryLost are as in client.Config.
	RetryStart, RetryLost time.Duration
	// QLogDir is where sessions are logged, as moqt.Config.QLogDir. Default: nowhere.
	QLogDir string
	// Log gets events. Default: none.
	Log *slog.Logger
	// Progress is called about once a second, and at the end.
	Progress func(Stats)

	edge, askPatience time.Duration // tests set these; default: see backlog.go
	writePatience     time.Duration // tests set this; default: see queue.go
	beforeWrite       func()        // tests set this: called before anything is written to the spool's disk
	dial              func(ctx context.Context, url string, tlsConf *tls.Config, conf *moqt.Config) (*moqt.Session, error)
}

const (
	defaultResend    = 30 * time.Second
	defaultMemory    = 256 << 20
	defaultDrain     = 30 * time.Second
	interruptedDrain = time.Second
)

// ErrUndelivered says that a relay had not confirmed everything when the time for it was over.
var ErrUndelivered = errors.New("not everything was delivered")

// ErrDamaged says that the input was damaged; all that could be read was published.
var ErrDamaged error = damaged{}

type damaged struct{}

func (damaged) Error() string { return "input was damaged" }
func (damaged) ExitCode() int { return exit.BadData }

// Run publishes the object stream r until it ends and everything was delivered.
func Run(ctx context.Context, c Config, r io.Reader) (Stats, error) {
	c.Resend = settings.Or(c.Resend, defaultResend)
	c.Memory = settings.Or(c.Memory, defaultMemory)
	c.edge, c.askPatience = settings.Or(c.edge, defaultEdge), settings.Or(c.askPatience, defaultAskPatience)
	c.Drain = settings.Or(c.Drain, defaultDrain)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, relay := range c.Relays {
		if err := client.CheckURL(relay); err != nil {
			return Stats{}, err
		}
	}
	s := newSpool(len(c.Relays), c.Resend, c.Memory, c.Block, c.Log)
	s.standby = c.Standby
	if c.Spool != "" {
		var err error
		if s.disk, err = openDisk(c); err != nil {
			return Stats{}, err
		}
		defer s.disk.close()
	}

	// The input ends first, and relays have some time after that, so relays run on a context of their own.
	rctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	inctx, stopInput := context.WithCancelCause(ctx)
	defer stopInput(nil)

	var wg sync.WaitGroup
	errs := make([]error, len(c.Relays))
	for i, relay := range c.Relays {
		wg.Go(func() {
			err := newUploader(c, s, i, relay).run(rctx)
			if err != nil {
				errs[i] = err
				if s.relayGone(i) {
					stopInput(err) // no relay is left to publish to
				} else if len(c.Relays) > 1 {
					c.Log.Error("relay given up, going on with the others", "relay", client.Name(relay), "err", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()

	inErr := readWhile(inctx, c, s, r)
	s.end()

	drain := c.Drain
	if inctx.Err() != nil {
		drain = min(drain, interruptedDrain)
		inErr = nil // errs or ctx tells it already
	}
	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		cancel(fmt.Errorf("%w within %v", ErrUndelivered, drain))
		<-done
	case <-afterDone(ctx, interruptedDrain):
		cancel(context.Cause(ctx))
		<-done
	}
	stats := s.counted()
	if c.Progress != nil {
		c.Progress(stats)
	}
	if inErr == nil && stats.Damaged > 0 {
		inErr = fmt.Errorf("%w at %d places, the rest was published", ErrDamaged, stats.Damaged)
	}
	return stats, errors.Join(append([]error{context.Cause(ctx), inErr}, distinct(errs)...)...)
}

// distinct drops nil errors.
func distinct(errs []error) (list []error) {
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	return list
}

// afterDone returns a channel that is closed some time after ctx ended.
func afterDone(ctx context.Context, d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(d, func() { close(c) }) })
	return c
}

// readWhile reads until the input or ctx ends, whichever comes first: a reader may block for ever.
func readWhile(ctx context.Context, c Config, s *spool, r io.Reader) error {
	result := make(chan error, 1)
	go func() { result <- read(ctx, c, s, r) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// read moves objects from the input into the spool.
func read(ctx context.Context, c Config, s *spool, r io.Reader) error {
	in := object.NewReader(r)
	tick := time.Now()
	for ctx.Err() == nil {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if damage, ok := errors.AsType[*object.CorruptError](err); ok {
			c.Log.Warn("input damaged, going on after it", "offset", damage.Offset, "err", damage.Err)
			s.mu.Lock()
			s.Damaged++
			s.mu.Unlock()
			continue
		}
		if err != nil {
			return err
		}
		if rec.IsTrack {
			s.declare(rec.Track)
			continue
		}
		now := time.Now()
		if err := s.add(ctx, rec.Track, &rec.Object, now); err != nil {
			return err
		}
		if rec.Track.Name.Name == catalog.TrackManifest && rec.Object.Status == object.Normal {
			if err := s.manifest(ctx, rec.Track.Name, rec.Object.Payload); err != nil {
				return err
			}
		}
		if c.Progress != nil && now.Sub(tick) > time.Second {
			tick = now
			c.Progress(s.snapshot())
		}
	}
	return context.Cause(ctx)
}

// relayGone notes that a relay failed for good, and reports whether it was the last one.
func (s *spool) relayGone(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[i] = true
	s.cond.Broadcast()
	return s.allGone()
}

func (s *spool) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.Stats
	for _, sess := range s.up {
		if r := sess.Repair().String(); r != "" {
			st.Repair += ", " + r
		}
	}
	return st
}
