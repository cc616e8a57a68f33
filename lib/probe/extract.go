package probe

import (
	"context"
	"errors"
	"fmt"
	"io"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
)

// Extract writes the payloads of one track of an object stream, in the order of the stream. Without a
// track it takes the transport stream tracks of the first broadcast and the first source, which are the
// promoted and the other chunks of one program. With cfg.Verify an object whose hash is wrong is left out.
func Extract(ctx context.Context, cfg Config, track string, r io.Reader, w io.Writer) error {
	rd := object.NewReader(r)
	x := &extract{cfg: cfg, w: w, chosen: map[*object.Track]bool{}, found: map[bool]string{}}
	if track != "" {
		name, err := object.ParseTrackName(track)
		if err != nil {
			return err
		}
		x.only = &name
	}
	for {
		rec, err := rd.Next()
		if err == io.EOF {
			break
		}
		if bad, ok := errors.AsType[*object.CorruptError](err); ok {
			x.damaged++
			if cfg.Log != nil {
				cfg.Log.Warn("damaged object stream", "offset", bad.Offset, "err", bad.Err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := x.record(rec); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	switch {
	case x.objects == 0 && x.only != nil:
		return &Error{fmt.Errorf("%w: %v", ErrTrack, *x.only), "ec-dump lists the tracks of an object stream"}
	case x.objects == 0:
		return &Error{fmt.Errorf("%w: nothing named ts or ts_tNN", ErrTrack), "choose one with --track; ec-dump lists them"}
	case x.mismatch > 0:
		return &Error{fmt.Errorf("%w: %d objects left out", ErrMismatch, x.mismatch), ""}
	case x.damaged > 0:
		return &Error{fmt.Errorf("%w: the object stream at %d places", ErrDamaged, x.damaged), ""}
	}
	return nil
}

type extract struct {
	cfg      Config
	w        io.Writer
	only     *object.TrackName
	chosen   map[*object.Track]bool // decided, by declaration
	found    map[bool]string        // namespace of the source (true) and of the broadcast
	objects  int64
	mismatch int64
	damaged  int64
}

func (x *extract) record(rec *object.Record) error {
	o := &rec.Object
	if rec.IsTrack || o.Status != object.Normal {
		return nil
	}
	take, known := x.chosen[rec.Track]
	if !known {
		var err error
		if take, err = x.choose(rec.Track.Name); err != nil {
			return err
		}
		if len(x.chosen) >= maxTracks {
			clear(x.chosen)
		}
		x.chosen[rec.Track] = take
	}
	if !take {
		return nil
	}
	x.objects++
	if x.cfg.Verify {
		if err := object.VerifyHash(o); err != nil && !errors.Is(err, object.ErrNoHash) {
			x.mismatch++
			return nil
		}
	}
	_, err := x.w.Write(o.Payload)
	return err
}

// choose decides whether a track is wanted.
func (x *extract) choose(name object.TrackName) (bool, error) {
	if x.only != nil {
		return x.only.Equal(name), nil
	}
	if !catalog.IsTS(name.Name) {
		return false, nil
	}
	scope, ns := ofSource(name.Namespace), name.Namespace.String()
	if first, ok := x.found[scope]; ok && first != ns {
		return false, &Error{fmt.Errorf("more than one program: %s and %s", first, ns), "choose a track with --track"}
	}
	x.found[scope] = ns
	return true, nil
}
