package sub

import (
	"context"
	"errors"
	"io"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// healingPatience is for how many times Config.Reorder an answer to the fetch of a hole is waited for.
const healingPatience = 5

// fetching is a FETCH in progress.
type fetching struct {
	e          *epoch
	start, end moqt.Location
	how        origin // healing is the reader's own fetch of a hole: what it does not bring may still come

	last    moqt.Location // the location after the last object that came
	unknown bool          // the relay may lack what follows last
	lacks   bool          // another relay may have some of what this one lacks
}

// fetch puts the objects from start to before end. That a relay cannot serve the range, or breaks off, is no error: what is
// missing then is asked for again, or elsewhere.
func (e *epoch) fetch(ctx context.Context, sess *client.Session, start, end moqt.Location, how origin) error {
	f := fetching{e: e, start: start, end: end, how: how, last: start}
	r, err := f.ask(ctx, sess)
	if err != nil || r == nil {
		return err
	}
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
		if errors.Is(err, io.EOF) {
			f.finished()
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

// ask sends the FETCH; nil without an error if the relay has no answer. When a hole is healed the relay must answer soon: what
// is here waits meanwhile, and not every relay answers.
func (f *fetching) ask(ctx context.Context, sess *client.Session) (*moqt.FetchReader, error) {
	end := f.end
	if end.Object == 0 { // "the whole group" in FETCH, so ours is the one before
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

// refusal says that the range holds nothing, or that the relay cannot serve it; it may come late. Only the word of the one relay
// there is ends the waiting for the range.
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

// alone reports that there is no other relay, so that what this one lacks nobody has.
func (f *fetching) alone() bool { return len(f.e.p.c.Relays) == 1 }

// broken ends a fetch whose stream did not come to its end.
func (f *fetching) broken(ctx context.Context, err error) error {
	if reset, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
		f.e.log.Warn("relay broke off a fetch", "at", f.last.String(), "code", reset.Code.String())
		return nil
	}
	return f.refusal(err)
}

// finished notes what the end of the answer says: nothing else exists before the end of the range, as far as the relay knows.
func (f *fetching) finished() {
	if f.last.Group < f.end.Group {
		f.endGroup()
	}
	if f.how != healing && !f.lacks {
		f.e.asm.upTo(f.end)
	}
}

// endGroup ends the group of the last object there, if the relay knows it whole.
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

// nothing notes that what follows the last object does not exist, in its own group at least.
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
