package sub

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// live subscribes, fetches the objects between the due location and the subscription's beginning, and reads streams until the
// subscription ends.
func (e *epoch) live(ctx context.Context, sess *client.Session) error {
	g, gctx := errgroup.WithContext(ctx)
	l := &liveReader{e: e, g: g, ctx: gctx}
	if err := l.subscribe(sess); err != nil {
		g.Wait()
		return err
	}
	defer l.unsubscribe()
	e.p.rs.works(sess)
	g.Go(l.move)
	return g.Wait()
}

// datagrams reads objects that come as datagrams. Publishers of this project send none, but others may.
func (e *epoch) datagrams(ctx context.Context, sub *moqt.Subscription) error {
	for {
		d, err := sub.AcceptDatagram(ctx)
		if err != nil {
			return nil // the reader of streams reports why
		}
		o := object.Object{Group: d.Group, ID: d.ID, Status: object.Status(d.Status), Properties: d.Properties, Payload: d.Payload}
		if d.Priority != nil {
			o.Priority = *d.Priority
		}
		if err := e.asm.put(ctx, o, live); err != nil {
			return err
		}
		if d.EndOfGroup {
			e.asm.endGroup(d.Group, d.ID+1)
		}
	}
}

// subgroup reads one stream; the assembler was told already that it was opened.
func (e *epoch) subgroup(ctx context.Context, r *moqt.SubgroupReader) error {
	stop := context.AfterFunc(ctx, func() { r.Cancel(wire.ResetCancelled) })
	defer stop()
	h := r.Header()
	var end uint64
	for {
		oh, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !h.EndOfGroup {
				end = 0
			}
			e.asm.closed(h.Group, true, end)
			return nil
		}
		if err != nil {
			e.asm.closed(h.Group, false, 0)
			if reset, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				e.log.Debug("stream reset", "group", h.Group, "code", reset.Code.String())
				return nil
			}
			return err
		}
		o := object.Object{Group: h.Group, Subgroup: r.Header().Subgroup, ID: oh.ID, Priority: r.Priority(), Status: object.Status(oh.Status)}
		if err := readObject(&o, oh.Properties, oh.Size, r); err != nil {
			e.asm.closed(h.Group, false, 0)
			if _, ok := errors.AsType[*moqt.StreamResetError](err); ok && ctx.Err() == nil {
				return nil
			}
			return err
		}
		end = o.ID + 1
		if err := e.asm.put(ctx, o, live); err != nil {
			return err
		}
	}
}
