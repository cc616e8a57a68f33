package store

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/object"
)

// Bounds of reading from the tier.
const (
	coldLoads    = 8                // groups that are on their way at a time
	coldAhead    = 4                // groups that are read ahead of one that is read
	coldPatience = 20 * time.Second // for a group, and a second more for each coldRate bytes
	coldRate     = 1 << 20
	coldRecent   = 64          // groups that are remembered to tell who reads one group after another
	coldRest     = time.Second // how long nothing is asked after a failure, then twice as long each time
	coldRestMost = time.Minute
)

// cold holds groups of the tier in memory, as whole files. All who read one group share it. What was not read for the longest time goes first, also
// while somebody reads it: then it is fetched again.
type cold struct {
	s    *Store
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	room    sync.Cond // something was loaded or failed
	groups  map[*group]*coldGroup
	used    int64 // bytes of all
	loads   int   // that are on their way
	loading int64 // bytes of these
	lru     list.List
	recent  []*group
	fails   int // in succession
	rest    time.Time
	why     error // the last failure
	said    spell
}

// coldGroup is a group in memory, or on its way there.
type coldGroup struct {
	size int64
	at   *list.Element // of lru; nil: on its way
	done chan struct{} // closed when what follows is set
	b    []byte
	sum  object.Hash
	err  error
}

func newCold(s *Store) *cold {
	c := &cold{s: s, groups: make(map[*group]*coldGroup), said: spell{log: s.c.Logger, what: "reading from the cold tier"}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.room.L = &c.mu
	return c
}

// leave ends what is on its way.
func (c *cold) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
	c.room.Broadcast()
}

// close does the same, and waits until it has ended.
func (c *cold) close() {
	c.leave()
	c.wg.Wait()
}

// LeaveTier ends all that is being read from the tier, so that nobody waits for it when the store is about to be closed.
func (s *Store) LeaveTier() { s.cold.leave() }

// get returns the bytes of a group, which are what was stored, and their hash. The bytes must not be changed.
func (c *cold) get(g *group, size int64) ([]byte, object.Hash, error) {
	c.mu.Lock()
	e := c.groups[g]
	if e == nil {
		e = c.begin(g, size)
	} else if e.at != nil {
		c.lru.MoveToBack(e.at)
	}
	c.mu.Unlock()
	<-e.done
	return e.b, e.sum, e.err
}

// begin has a group loaded; mu is held.
func (c *cold) begin(g *group, size int64) *coldGroup {
	e := &coldGroup{size: size, done: make(chan struct{})}
	if err := c.ready(); err != nil {
		e.err = err
		close(e.done)
		return e
	}
	c.groups[g] = e
	c.wg.Go(func() { c.load(g, e) })
	return e
}

// ready reports why nothing can be asked at the moment; mu is held.
func (c *cold) ready() error {
	switch {
	case c.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errTier, ErrClosed)
	case c.s.c.Tier == nil:
		return errNoTier
	case time.Now().Before(c.rest):
		return c.why
	}
	return nil
}

// load brings a group into memory.
func (c *cold) load(g *group, e *coldGroup) {
	ctx, cancel := context.WithTimeout(c.ctx, coldPatience+time.Duration(e.size/coldRate)*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.room.Broadcast()
	})()
	err := c.takeRoom(ctx, e)
	took := err == nil
	if took {
		e.b, e.sum, err = c.fetch(ctx, g, e.size)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if took {
		c.loads--
		c.loading -= e.size
	}
	switch {
	case err != nil:
		e.err = err
		delete(c.groups, g)
		if took {
			c.used -= e.size
		}
	default:
		e.at = c.lru.PushBack(g)
	}
	close(e.done)
	c.room.Broadcast()
}

// takeRoom waits until there is room for a group; a group that is larger than all of it may come alone.
func (c *cold) takeRoom(ctx context.Context, e *coldGroup) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.ready(); err != nil {
			return err
		}
		for c.used > 0 && c.used+e.size > c.s.c.tierMemory && c.lru.Len() > 0 {
			old := c.lru.Remove(c.lru.Front()).(*group)
			c.used -= c.groups[old].size
			delete(c.groups, old)
		}
		if c.loads < coldLoads && (c.used == 0 || c.used+e.size <= c.s.c.tierMemory) {
			c.loads++
			c.loading += e.size
			c.used += e.size
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: too many groups are being read: %w", errTier, err)
		}
		c.room.Wait()
	}
}

// fetch asks the bucket for a group and compares what comes with the stub.
func (c *cold) fetch(ctx context.Context, g *group, size int64) ([]byte, object.Hash, error) {
	b, d, err := c.raw(ctx, g, size+size/8+1<<20) // another relay may have written it a little longer
	if err != nil {
		return nil, object.Hash{}, err
	}
	if err := g.fits(b, d); err != nil {
		return nil, object.Hash{}, err
	}
	return b, object.Sum(b), nil
}

// raw asks the bucket for a group, whatever comes. That the bucket does not have it is damage.
func (c *cold) raw(ctx context.Context, g *group, most int64) ([]byte, Tiered, error) {
	b, d, err := c.s.c.Tier.Get(ctx, g.key(), most)
	if errors.Is(err, fs.ErrNotExist) {
		c.heard(nil)
		return nil, d, fmt.Errorf("%w: %s does not have %s", ErrDamaged, c.s.c.Tier, g.key())
	}
	if err != nil && c.ctx.Err() != nil {
		return nil, d, fmt.Errorf("%w: %w", errTier, ErrClosed)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errTier, err)
	}
	c.heard(err)
	return b, d, err
}

// heard notes whether the bucket answers.
func (c *cold) heard(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.tell(err)
	if c.why = err; err == nil {
		c.fails, c.rest = 0, time.Time{}
		return
	}
	c.rest = time.Now().Add(min(coldRest<<min(c.fails, 6), coldRestMost))
	c.fails++
	c.room.Broadcast()
}

// ahead has the next groups of the tier loaded, if the one before g was opened a short time ago. The track's mutex is held.
func (c *cold) ahead(g *group) {
	t := g.t
	i, _ := slices.BinarySearch(t.ids, g.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	before := i > 0 && slices.Contains(c.recent, t.groups[t.ids[i-1]])
	if !slices.Contains(c.recent, g) {
		c.recent = append(c.recent, g)
		c.recent = c.recent[max(0, len(c.recent)-coldRecent):]
	}
	if !before {
		return
	}
	for _, id := range t.ids[i:min(i+1+coldAhead, len(t.ids))] {
		next := t.groups[id]
		if next.tiered && !next.bad && c.groups[next] == nil && c.loads < coldLoads-1 && c.loading+next.size <= c.s.c.tierMemory/2 && c.ready() == nil {
			c.begin(next, next.size)
		}
	}
}

// fits reports whether bytes from the tier are the group, as its stub knows it. If the stub does not know the objects, it learns them.
func (g *group) fits(b []byte, d Tiered) error {
	x, err := wholeGroup(b, g.t.name, g.id)
	if err != nil {
		return fmt.Errorf("%s in the tier: %w", g.key(), err)
	}
	st, err := g.t.s.readStub(g.path(extTier))
	switch {
	case err != nil:
		return g.stubGone(err)
	case st.idx != nil && !x.same(st.idx):
		return fmt.Errorf("%w: %s in the tier holds other objects", ErrDamaged, g.key())
	case g.t.s.c.ReadOnly, st.idx != nil && st.size == int64(len(b)):
		return nil
	}
	if st.idx == nil && !d.Written.IsZero() {
		st.mtime = d.Written.UnixNano()
	}
	st.idx, st.size = x, int64(len(b))
	if err := g.learn(st); err != nil {
		g.t.s.c.Logger.Warn("stub of a group in the cold tier not written", "group", g.key(), "err", err)
	}
	return nil
}

// stubGone deals with a stub that cannot be read, as with any file.
func (g *group) stubGone(err error) error {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	if g.t.groups[g.id] != g || !g.tiered {
		return fmt.Errorf("%w: the group was removed meanwhile", errTier)
	}
	return g.vanished(err)
}

// learn replaces the group's stub by one that knows more.
func (g *group) learn(st stub) error {
	temp, err := g.writeStub(st)
	if err != nil {
		return err
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	if g.t.groups[g.id] != g || !g.tiered {
		return os.Remove(temp)
	}
	if err := g.keepStub(temp); err != nil {
		return err
	}
	g.resize(st.size)
	g.mtime = st.mtime
	if g.idx != nil {
		g.idx = st.idx
	}
	return nil
}

// wholeGroup returns the index of a group's file in memory, if it is whole, in order, and each payload fits its hash.
func wholeGroup(b []byte, name object.TrackName, id uint64) (*index, error) {
	x, end, err := scan(bytes.NewReader(b), name, id)
	switch {
	case err != nil:
		return nil, err
	case x.messy, !x.whole(), end != int64(len(b)):
		return nil, fmt.Errorf("%w: it is not whole", ErrDamaged)
	}
	r := object.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return x, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if !rec.IsTrack && !verifies(&rec.Object) {
			return nil, fmt.Errorf("%w: object %d: %w", ErrDamaged, rec.Object.ID, object.ErrHash)
		}
	}
}

// same reports whether two indexes are of the same objects.
func (x *index) same(o *index) bool {
	return slices.EqualFunc(x.entries, o.entries, func(a, b entry) bool { return a.id == b.id && a.status == b.status && a.hash == b.hash })
}

// openCold opens a group in the tier. It is fetched when the first object is asked for. The track's mutex is held.
func (t *Track) openCold(g *group, from uint64) (*Reader, error) {
	s := t.s
	if s.c.Tier == nil {
		return nil, errNoTier
	}
	s.cold.ahead(g)
	r := &Reader{g: g, info: g.info(), name: t.name, from: from, r: object.NewReader(nil), release: func() {}}
	r.r.Reset(&coldReader{g: g, size: g.size})
	return r, nil
}

// coldReader reads a group of the tier from its start to its end.
type coldReader struct {
	g    *group
	size int64
	sum  object.Hash
	off  int
}

func (r *coldReader) Read(p []byte) (int, error) {
	b, sum, err := r.g.t.s.cold.get(r.g, r.size)
	switch {
	case err != nil:
		return 0, err
	case r.off == 0:
		r.sum = sum
	case sum != r.sum: // another relay replaced it
		return 0, errReplaced
	case r.off == len(b):
		return 0, io.EOF
	}
	n := copy(p, b[r.off:])
	r.off += n
	return n, nil
}
