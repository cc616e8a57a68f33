package sub

import (
	"context"
	"errors"
	"io"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// healingPatience times Config.Reorder is how long the answer to the fetch of a hole is waited for.
const healingPatience = 5

// fetching is a FETCH in progress.
type fetching struct {
	e          *epoch
	start, end moqt.Location
	how        origin // healing: the reader fetches a hole, so objects that this FETCH does not bring may still come

	last    moqt.Location // the location after the last object that came
	unknown bool          // the relay may lack objects behind last
	lacks   bool          // another relay may have objects that this one lacks
	broke   bool          // the answer did not come to its end
}

// fetch puts the objects from start to before end. It is no error if the relay cannot serve the range, or breaks off: the objects
// that are then missing are asked for again, or at another relay.
func (e *epoch) fetch(ctx context.Context, sess *client.Session, start, end moqt.Location, how origin) error {
	f := fetching{e: e, start: start, end: end, how: how, last: start}
	r, err := f.ask(ctx, sess)
	if err != nil || r == nil {
		return err
	}
	return f.read(ctx, r, nil)
}

// fill is fetch for what the subscription itself asked for. What the publisher does not fill, or nothing of within a while, is fetched.
func (e *epoch) fill(ctx context.Context, sess *client.Session, r *moqt.FetchReader, start, end moqt.Location) error {
	f := fetching{e: e, start: start, end: end, how: fetched, last: start}
	silent := time.AfterFunc(e.p.c.Reorder, func() { r.Cancel() })
	err := f.read(ctx, r, silent)
	if ctx.Err() != nil || !f.broke {
		return err
	}
	e.log.Debug("a subscription was not filled", "from", f.last.String(), "to", end.String(), "err", err)
	return e.fetch(ctx, sess, f.last, end, fetched)
}

// read takes the answer. silent, if not nil, is stopped when it begins.
func (f *fetching) read(ctx context.Context, r *moqt.FetchReader, silent *time.Timer) error {
	e := f.e
	stop := context.AfterFunc(ctx, func() { r.Cancel() })
	defer stop()
	defer r.Cancel()
	if !e.declared.Load() {
		info, err := r.Info(ctx)
		if err != nil {
			return f.refusal(err)
		}
		if err := e.declare(info.Properties); err != nil {
			return err
		}
	}
	for {
		o, err := r.Next()
		if silent != nil {
			silent.Stop()
		}
		if errors.Is(err, io.EOF) {
			info, err := r.Info(ctx)
			if err != nil {
				return f.broken(ctx, err)
			}
			f.finished(info.End)
			return nil
		}
		if err != nil {
			return f.broken(ctx, err)
		}
		switch o.Kind {
		case moqt.FetchedUnknown:
			f.gap(o)
		case moqt.FetchedNonExistent:
			f.nothing(o)
		default:
			err = f.take(ctx, o, r)
		}
		if err != nil {
			return err
		}
	}
}

// ask sends the FETCH. It returns nil without an error if the relay has no answer. While a hole is healed, the objects behind it
// wait, and not every relay answers; so the relay must answer soon.
func (f *fetching) ask(ctx context.Context, sess *client.Session) (*moqt.FetchReader, error) {
	end := f.end
	if end.Object == 0 { // in FETCH, Object 0 means the whole group, so the range ends with the group before
		end = moqt.Location{Group: end.Group - 1}
	}
	patience, cancel := ctx, context.CancelFunc(func() {})
	if f.how == healing {
		patience, cancel = context.WithTimeout(ctx, healingPatience*f.e.p.c.Reorder)
	}
	defer cancel()
	r, err := sess.Fetch(patience, f.e.name, f.start, end, moqt.FetchOptions{GroupOrder: wire.GroupOrderAscending})
	switch {
	case err == nil:
		return r, nil
	case f.how == healing && patience.Err() != nil && ctx.Err() == nil:
		f.e.log.Warn("relay does not answer a fetch", "from", f.start.String(), "to", f.end.String())
		return nil, nil
	}
	return nil, f.refusal(err)
}

// refusal takes a refusal of the FETCH: the range holds nothing, or the relay cannot serve it and its objects may come later. The
// range is given up only if there is no other relay to ask.
func (f *fetching) refusal(err error) error {
	r, ok := errors.AsType[*moqt.RequestError](err)
	if !ok {
		return err
	}
	f.e.log.Debug("relay cannot serve a range", "from", f.start.String(), "to", f.end.String(), "err", err)
	if f.how != healing && f.alone() && (r.Code == wire.RequestInvalidRange || r.Code == wire.RequestDoesNotExist) {
		f.e.asm.upTo(f.end)
	}
	return nil
}

// alone reports whether there is no other relay, so that nobody has what this one lacks.
func (f *fetching) alone() bool { return len(f.e.p.c.Relays) == 1 }

// broken ends a fetch whose stream did not come to its end.
func (f *fetching) broken(ctx context.Context, err error) error {
	f.broke = true
	if reset, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
		f.e.log.Warn("relay broke off a fetch", "at", f.last.String(), "code", reset.Code.String())
		return nil
	}
	return f.refusal(err)
}

// finished takes the end of the answer: as far as the relay knows, no other object exists before the end of the range that it says it
// answered. That is less than was asked for if its largest object is in the range: what follows in that object's group may be on its way.
func (f *fetching) finished(answered moqt.Location) {
	if answered.Object == 0 { // the whole group
		answered.Group++
	}
	if f.end.Less(answered) {
		answered = f.end
	}
	if f.last.Group < answered.Group {
		f.endGroup()
	}
	if f.how != healing && !f.lacks {
		f.e.asm.upTo(answered)
	}
}

// endGroup ends the group at the last object, if the relay knows the whole group.
func (f *fetching) endGroup() {
	if !f.unknown && f.last.Object > 0 {
		f.e.asm.endGroup(f.last.Group, f.last.Object)
	}
}

// gap notes that the relay does not know what follows the last object.
func (f *fetching) gap(o moqt.FetchObject) {
	f.unknown, f.lacks = true, !f.alone()
	f.e.asm.unknown(f.last.Group)
	f.e.log.Debug("relay does not know a range", "from", f.last.String(), "to", moqt.Location{Group: o.Group, Object: o.ID}.String())
}

// nothing notes that no object exists behind the last one, at least in the last one's group.
func (f *fetching) nothing(o moqt.FetchObject) {
	if f.last.Object > 0 && o.Group >= f.last.Group && o.ID >= f.last.Object {
		f.e.asm.endGroup(f.last.Group, f.last.Object)
	}
}

// take puts an object.
func (f *fetching) take(ctx context.Context, from moqt.FetchObject, payload io.Reader) error {
	if from.Group > f.last.Group {
		f.endGroup()
	}
	o := object.Object{Group: from.Group, Subgroup: from.Subgroup, ID: from.ID, Priority: from.Priority}
	if err := readObject(&o, from.Properties, from.Size, payload); err != nil {
		return f.broken(ctx, err)
	}
	f.last, f.unknown = moqt.Location{Group: from.Group, Object: from.ID + 1}, false
	if f.how == healing {
		f.e.p.out.count(func(s *Stats) { s.Healed++ })
	}
	if err := f.e.asm.put(ctx, o, f.how); err != nil {
		return err
	}
	if f.how != healing && !f.lacks {
		f.e.asm.upTo(f.last)
	}
	return nil
}

// readObject fills in properties and payload, in memory of its own.
func readObject(o *object.Object, properties []byte, size uint64, r io.Reader) error {
	buf := make([]byte, uint64(len(properties))+size) // the session bounds size
	n := copy(buf, properties)
	o.Properties, o.Payload = buf[:n:n], buf[n:]
	_, err := io.ReadFull(r, o.Payload)
	return err
}
