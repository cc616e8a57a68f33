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

// olderCatalogs is how many buckets back a catalog is looked for in place of the newest one.
const olderCatalogs = 600

// firstGroup returns the first group that the relay has of the track.
func (t track) firstGroup(ctx context.Context, sess *client.Session, largest *moqt.Location) (uint64, error) {
	group, _, err := t.firstThere(ctx, sess, largest)
	return group, err
}

// firstThere does the same, and reports whether the relay has groups before it that it cannot give; then it returns the first of these.
func (t track) firstThere(ctx context.Context, sess *client.Session, largest *moqt.Location) (group uint64, unreadable bool, err error) {
	if largest == nil {
		return 0, false, nil
	}
	first, err := t.lookFrom(ctx, sess, 0, moqt.Location{Group: largest.Group, Object: largest.Object + 1})
	switch {
	case err != nil:
		return 0, false, err
	case first.unreadable != nil:
		return *first.unreadable, true, nil
	case first.there:
		return first.group, false, nil
	}
	return largest.Group, false, nil
}

// groupFrom returns the first group from a group on and before a location; false: there is none.
func (t track) groupFrom(ctx context.Context, sess *client.Session, group uint64, end moqt.Location) (_ uint64, there bool, _ error) {
	first, err := t.lookFrom(ctx, sess, group, end)
	return first.group, first.there, err
}

// firstOf is what a relay has first of a range.
type firstOf struct {
	group uint64 // of the first object
	there bool   // false: there is none
	// unreadable is a group before it that the relay has and cannot give; nil: none. Of such a group a relay of ours says that it does not know
	// what is up to the group, and then the same of the group alone (docs/relay.md).
	unreadable *uint64
}

// lookFrom asks for everything from a group on and before a location, and looks at the first object only.
func (t track) lookFrom(ctx context.Context, sess *client.Session, group uint64, end moqt.Location) (f firstOf, err error) {
	if end.Object == 0 { // in FETCH, Object 0 means the whole group, so the range ends with the group before
		end.Group--
	}
	r, err := sess.Fetch(ctx, t.name, moqt.Location{Group: group}, end, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return f, refused(t.written, err)
	}
	defer context.AfterFunc(ctx, func() { r.Cancel() })()
	defer r.Cancel()
	before, unknown := uint64(0), false // the last group of the entry before, if that tells of nothing up to a group's end
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, cause(ctx, err)
		}
		if o.Kind == moqt.FetchedObject {
			f.group, f.there = o.Group, true
			return f, nil
		}
		whole := o.Kind == moqt.FetchedUnknown && o.ID == object.MaxVarint
		if whole && unknown && o.Group == before+1 && f.unreadable == nil {
			group := o.Group
			f.unreadable = &group
		}
		before, unknown = o.Group, whole
	}
}

// fetchAll reads the payloads of a range that is known to be small. It leaves out payloads that are too large for what they
// should be.
func fetchAll(ctx context.Context, sess *client.Session, t object.TrackName, start, end moqt.Location) (payloads [][]byte, err error) {
	err = fetchEach(ctx, sess, t, start, end, func(_ uint64, payload []byte) { payloads = append(payloads, payload) })
	return payloads, err
}

// fetchEach is fetchAll, with the group of each payload.
func fetchEach(ctx context.Context, sess *client.Session, t object.TrackName, start, end moqt.Location, each func(group uint64, payload []byte)) error {
	r, err := sess.Fetch(ctx, t, start, end, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { r.Cancel() })()
	defer r.Cancel()
	for {
		o, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cause(ctx, err)
		}
		if o.Kind != moqt.FetchedObject || o.Size > catalog.MaxBytes {
			continue
		}
		b := make([]byte, o.Size)
		if _, err := io.ReadFull(r, b); err != nil {
			return cause(ctx, err)
		}
		each(o.Group, b)
	}
}

// cause is why a reader ended that is cancelled when ctx is done.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// readCatalog reads the newest catalog of a track of catalogs, waiting a little for the first one.
func readCatalog(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	c, err := readStored(ctx, sess, t)
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code != wire.RequestNotSupported { // else the relay has no TRACK_STATUS or FETCH
		return nil, err
	}
	switch _, lost := errors.AsType[*lostCatalog](err); {
	case c != nil: // perhaps not the newest one, which is lost
		return c, nil
	case errors.Is(err, catalog.ErrCatalog):
		return nil, fmt.Errorf("%v: %w", t, err)
	case err != nil && !lost && !errors.As(err, new(*moqt.RequestError)):
		return nil, err
	}
	payloads, err := nextObject(ctx, sess, t)
	if err != nil {
		return nil, err
	}
	if c, err = catalog.Parse(payloads[len(payloads)-1]); err != nil {
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

// readStored is readCatalog without waiting; it returns nil if there is no catalog. If the relay does not give the newest catalog, that is an
// error, and the one before comes with it, if there is one.
func readStored(ctx context.Context, sess *client.Session, t object.TrackName) (*catalog.Catalog, error) {
	info, err := sess.TrackStatus(ctx, t)
	if err != nil || info.Largest == nil {
		return nil, err
	}
	newest := info.Largest.Group
	payloads, err := fetchAll(ctx, sess, t, moqt.Location{Group: newest}, moqt.Location{Group: newest})
	if err == nil && len(payloads) > 0 {
		return catalog.Parse(payloads[len(payloads)-1])
	}
	err = errors.Join(&lostCatalog{t, newest}, err)
	if older, _ := fetchAll(ctx, sess, t, moqt.Location{Group: newest - min(newest, idsOf(t).of(olderCatalogs))}, moqt.Location{Group: newest}); len(older) > 0 {
		if c, bad := catalog.Parse(older[len(older)-1]); bad == nil {
			return c, err
		}
	}
	return nil, err
}

// lostCatalog is the error that a relay knows of a catalog and does not give it.
type lostCatalog struct {
	track object.TrackName
	group uint64
}

func (e *lostCatalog) Error() string {
	return fmt.Sprintf("group %d of %v is missing", e.group, e.track)
}
