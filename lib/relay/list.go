package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// A list is asked for with a FETCH and comes as one object (docs/format/chain.md).

const (
	// leastListRate is how many bytes of a list must come each second, longestList how long a list may take in all.
	leastListRate, longestList = 64 << 10, 30 * time.Second
)

// inventory asks an upstream for its groups.
func (u *upstream) inventory(ctx context.Context, s *session, name object.TrackName, from, to uint64, through []string) (list []mesh.Group, err error) {
	err = u.eachGroup(ctx, s, name, from, to, through, func(g mesh.Group) bool {
		list = append(list, g)
		return true
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// eachGroup asks an upstream for its groups, and hands them to take, ascending, until that returns false.
func (u *upstream) eachGroup(ctx context.Context, s *session, name object.TrackName, from, to uint64, through []string, take func(mesh.Group) bool) error {
	list := object.TrackName{Namespace: append(object.Namespace{mesh.InventoryField}, name.Namespace...), Name: name.Name}
	end := moqt.Location{Group: from, Object: 1}
	if to < object.MaxVarint {
		end.Group = max(from+1, to)
	}
	return u.askList(ctx, s, list, moqt.Location{Group: from}, end, through, func(r io.Reader) error {
		return mesh.ReadInventory(bufio.NewReader(r), func(g mesh.Group) bool { return g.ID < from || take(g) })
	})
}

// askList asks an upstream for a list, and lets read read it. A long list may take longer than other answers as long as bytes come: that of
// a week of groups of a second is 1.2 MB.
func (u *upstream) askList(ctx context.Context, s *session, name object.TrackName, start, end moqt.Location, through []string, read func(io.Reader) error) error {
	actx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit, began := patience(through), time.Now()
	late := time.AfterFunc(limit, func() { cancel(errStallsUpstream) })
	defer late.Stop()
	came := func(bytes int64) {
		if len(through) == 0 { // otherwise the relay that asks this one would not wait so long
			late.Reset(min(limit+time.Duration(bytes*int64(time.Second)/leastListRate), longestList) - time.Since(began))
		}
	}
	err := fetchList(actx, s, name, start, end, u.hops(through), came, read)
	if err != nil && context.Cause(actx) == errStallsUpstream && ctx.Err() == nil {
		u.stalled("a list")
	}
	return err
}

// fetchList fetches the one object of an answer, and lets read read as much of it as it wants; nothing, if there is nothing.
func fetchList(ctx context.Context, s *session, list object.TrackName, start, end moqt.Location, hops []moqt.Token, came func(int64), read func(io.Reader) error) error {
	r, err := s.ask.Fetch(ctx, list, start, end, moqt.FetchOptions{Tokens: hops})
	if refused := (*moqt.RequestError)(nil); errors.As(err, &refused) && refused.Code == wire.RequestDoesNotExist {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Cancel()
	stop := context.AfterFunc(ctx, func() { r.Cancel() })
	defer stop()
	o, err := r.Next()
	if err != nil {
		return err
	}
	if o.Size > mesh.MaxInventoryBytes {
		return fmt.Errorf("a list of %d bytes", o.Size)
	}
	return read(&counted{Reader: r, left: o.Size, came: came})
}

// counted reads an object, and counts the bytes that were read.
type counted struct {
	io.Reader
	n    int64
	left uint64 // bytes of the object
	came func(bytes int64)
}

func (c *counted) Read(b []byte) (n int, err error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err = c.Reader.Read(b[:min(uint64(len(b)), c.left)])
	c.n, c.left = c.n+int64(n), c.left-uint64(n)
	if c.came(c.n); err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// newest keeps the newest groups that it is given.
type newest struct {
	list []mesh.Group
	most int
}

func (n *newest) add(g mesh.Group) {
	if n.list = append(n.list, g); len(n.list) >= 2*n.most {
		n.list = append(n.list[:0], n.list[len(n.list)-n.most:]...)
	}
}

// groups returns them, ascending.
func (n *newest) groups() []mesh.Group {
	if over := len(n.list) - n.most; over > 0 {
		return slices.Clone(n.list[over:])
	}
	return n.list
}
