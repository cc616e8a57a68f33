package sub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

const (
	// siBack is how many buckets back SI is read: si tracks have all sections every 10 minutes (docs/format/catalog.md).
	siBack = 330
	// siSources bounds the receivers whose SI is read.
	siSources = 4
)

// Guide takes the SI of a broadcast. Its methods are called one after the other.
type Guide interface {
	// Section takes a section that was sent from a place on.
	Section(from clock.PTS, pid uint16, section []byte)
	// Time takes what time it was at a place.
	Time(at clock.PTS, utc time.Time)
}

// SI reads the SI of a track's receivers from a group of the track on, until ctx ends. Relays and their settings are those of c.
func SI(ctx context.Context, c Config, t object.TrackName, group uint64, to Guide) error {
	sources, err := sourcesOf(ctx, c, t)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		return fmt.Errorf("no receiver of %v is known", t)
	}
	r := Config{Relays: c.Relays, Iroh: c.Iroh, Token: c.Token, TLS: c.TLS, Versions: c.Versions, NoRepair: c.NoRepair, Dial: c.Dial, RetryStart: c.RetryStart, RetryLost: c.RetryLost,
		QLogDir: c.QLogDir, AllowGaps: true, Nearest: true, From: Point{kind: atGroup, group: uint64(max(clock.GroupBucket(group)-siBack, 0))}}
	grid := defaultGrid
	for _, s := range sources[:min(len(sources), siSources)] {
		for _, name := range []string{catalog.TrackSI, catalog.TrackTimeline} {
			r.Names = append(r.Names, object.TrackName{Namespace: s.namespace, Name: name}.String())
		}
		if s.catalog != nil && s.catalog.EC != nil && s.catalog.EC.Duration > 0 {
			grid = clock.Grid(s.catalog.EC.Duration)
		}
	}
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := guide(in, grid, to)
		in.CloseWithError(err)
		done <- err
	}()
	_, err = Run(ctx, r, out)
	out.CloseWithError(err)
	return errors.Join(err, <-done)
}

// sourcesOf asks the first relay that answers for the receivers of a track.
func sourcesOf(ctx context.Context, c Config, t object.TrackName) (list []source, err error) {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for _, relay := range c.Relays {
		err = client.Run(ctx, client.Config{
			Relay: relay, Iroh: c.Iroh, Token: c.Token, TLS: c.TLS, Session: moqt.Config{Versions: c.Versions, NoRepair: c.NoRepair, QLogDir: c.QLogDir}, Dial: c.Dial, RetryStart: c.RetryStart, RetryLost: c.RetryLost,
		}, func(ctx context.Context, sess *client.Session) error {
			list, err = (&lookup{sess: sess, track: track{name: t, log: log}}).sources(ctx)
			return err
		})
		if err == nil {
			return list, nil
		}
	}
	return nil, err
}

// guide gives what si and timeline tracks say to a guide.
func guide(r io.Reader, grid clock.Grid, to Guide) error {
	objects := object.NewReader(r)
	for {
		rec, err := objects.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return err
		case rec.IsTrack || rec.Object.Status != object.Normal:
		case rec.Track.Name.Name == catalog.TrackTimeline:
			if e, err := catalog.ParseTimelineEntry(rec.Object.Payload); err == nil {
				to.Time(clock.PTS(e.PTS), e.UTC.Time)
			}
		case rec.Track.Name.Name == catalog.TrackSI:
			sections(rec.Object.Payload, func(pid uint16, section []byte) {
				to.Section(grid.Start(int64(rec.Object.Group)).PTS(), pid, section)
			})
		}
	}
}

// sections calls each with the sections of an object of an si track (docs/format/catalog.md).
func sections(b []byte, each func(pid uint16, section []byte)) {
	for len(b) >= 5 {
		n := 5 + int(b[3]&0x0f)<<8 + int(b[4])
		if n > len(b) {
			return
		}
		each(uint16(b[0])<<8|uint16(b[1]), append([]byte(nil), b[2:n]...))
		b = b[n:]
	}
}
