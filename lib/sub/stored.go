package sub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// catalogPatience bounds the wait for the first catalog of a namespace that nobody published to yet.
const catalogPatience = 5 * time.Second

// firstGroup returns the first group that the relay has of the track.
func (t track) firstGroup(ctx context.Context, sess *client.Session, largest *moqt.Location) (uint64, error) {
	if largest == nil {
		return 0, nil
	}
	return t.groupFrom(ctx, sess, 0, largest)
}

// groupFrom returns the first group from a group on. It asks for everything from there and looks at the first object only.
func (t track) groupFrom(ctx context.Context, sess *client.Session, group uint64, largest *moqt.Location) (uint64, error) {
	r, err := sess.Fetch(ctx, t.name, moqt.Location{Group: group}, moqt.Location{Group: largest.Group, Object: largest.Object + 1},
		moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return 0, refused(t.written, err)
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return largest.Group, nil
		}
		if err != nil {
			return 0, err
		}
		if o.Kind == moqt.FetchedObject {
			return o.Group, nil
		}
	}
}

// latest reads the payloads of the newest groups of a track, from at most back groups before the end.
func latest(ctx context.Context, sess *client.Session, t object.TrackName, back uint64) (payloads [][]byte, err error) {
	info, err := sess.TrackStatus(ctx, t)
	if err != nil {
		return nil, err
	}
	if info.Largest == nil {
		return nil, nil
	}
	l := *info.Largest
	return fetchAll(ctx, sess, t, moqt.Location{Group: l.Group - min(back, l.Group)}, moqt.Location{Group: l.Group, Object: l.Object + 1})
}

// fetchAll reads the payloads of a range that is known to be small. It leaves out payloads that are too large for what they
// should be.
func fetchAll(ctx context.Context, sess *client.Session, t object.TrackName, start, end moqt.Location) (payloads [][]byte, err error) {
	r, err := sess.Fetch(ctx, t, start, end, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return nil, err
	}
	defer r.Cancel()
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return payloads, nil
		}
		if err != nil {
			return payloads, err
		}
		if o.Kind != moqt.FetchedObject || o.Size > catalog.MaxBytes {
			continue
		}
		b := make([]byte, o.Size)
		if _, err := io.ReadFull(r, b); err != nil {
			return payloads, err
		}
		payloads = append(payloads, b)
	}
}

// readCatalog reads the newest catalog of a track of catalogs, waiting a little for the first one.
func readCatalog(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	payloads, err := latest(ctx, sess, t, 0)
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestNotSupported {
		payloads, err = nil, nil // the relay has no TRACK_STATUS or FETCH
	}
	if err != nil {
		return nil, err
	}
	if len(payloads) == 0 {
		if payloads, err = nextObject(ctx, sess, t); err != nil {
			return nil, err
		}
	}
	c, err := catalog.Parse(payloads[len(payloads)-1])
	if err != nil {
		return nil, fmt.Errorf("%v: %w", t, err)
	}
	return c, nil
}

// nextObject subscribes to a track until one object has come.
func nextObject(ctx context.Context, sess *client.Session, t object.TrackName) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogPatience)
	defer cancel()
	sub, err := sess.Subscribe(ctx, t, moqt.SubscribeOptions{})
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	r, err := sub.AcceptSubgroup(ctx)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil, &unknownTrack{t.String(), errors.New("no catalog came")}
	}
	if err != nil {
		return nil, err
	}
	defer r.Cancel(wire.ResetCancelled)
	r.SetReadDeadline(time.Now().Add(catalogPatience))
	o, err := r.Next()
	if err != nil {
		return nil, err
	}
	if o.Size > catalog.MaxBytes {
		return nil, fmt.Errorf("%v: %w", t, moqt.ErrTooLarge)
	}
	b := make([]byte, o.Size)
	_, err = io.ReadFull(r, b)
	return [][]byte{b}, err
}

// readStored is readCatalog without waiting; it returns nil if there is no catalog.
func readStored(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	payloads, err := latest(ctx, sess, t, 0)
	if err != nil || len(payloads) == 0 {
		return nil, err
	}
	return catalog.Parse(payloads[len(payloads)-1])
}
