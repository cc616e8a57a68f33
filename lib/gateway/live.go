package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
)

const (
	piece    = 64 << 10 // the most that is written at once, in bytes
	overhead = 256      // what a payload counts besides its bytes, so that empty ones are bounded too
)

// broadcast is one that is followed for its readers. All of them read the same memory.
type broadcast struct {
	g    *Gateway
	ns   object.Namespace
	name string
	stop context.CancelFunc

	mu      sync.Mutex // guards what follows
	groups  []*group   // newest last; what does not fit leaves at the front
	bytes   int        // that they count
	readers int
	changed chan struct{} // closed and replaced with every change
	over    bool
	err     error // why it is over
	unused  *time.Timer
}

// group is a run of payloads that a reader may begin with.
type group struct {
	id       uint64
	payloads [][]byte
	bytes    int
	gone     bool // objects that were not read yet are lost to its readers
}

// serveLive writes a broadcast from the group on that is being sent.
func (g *Gateway) serveLive(w http.ResponseWriter, r *http.Request, name string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Origin")
	t, hasTrack, err := object.ParseName(name)
	switch {
	case err != nil || hasTrack || t.Namespace.String() != name:
		http.Error(w, "no name of a broadcast", http.StatusNotFound)
		return
	case !g.c.Allowed(r):
		http.Error(w, "origin not allowed", http.StatusForbidden)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	ctx, done, refusal := g.c.May(r, t.Namespace)
	if refusal != nil {
		switch refusal.Status {
		case http.StatusUnauthorized:
			h.Set("WWW-Authenticate", "Bearer")
		case http.StatusTooManyRequests:
			h.Set("Retry-After", "10")
		}
		http.Error(w, refusal.Reason, refusal.Status)
		return
	}
	defer done()
	if g.readers.Add(1) > int64(g.c.MaxReaders) {
		g.readers.Add(-1)
		h.Set("Retry-After", "10")
		http.Error(w, "too many readers", http.StatusServiceUnavailable)
		return
	}
	defer g.readers.Add(-1)
	b, err := g.join(t.Namespace, name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer b.leave()
	start, cancel := context.WithTimeout(ctx, g.c.StartTimeout)
	defer cancel()
	at, err := b.begin(start)
	code, _ := exit.Of(err)
	switch {
	case ctx.Err() != nil:
		return
	case code == exit.Unreachable:
		http.Error(w, "no such broadcast", http.StatusNotFound)
		return
	case err != nil:
		h.Set("Retry-After", "10")
		http.Error(w, "nothing comes", http.StatusServiceUnavailable)
		return
	}
	h.Set("Content-Type", "video/mp2t")
	if r.Method == http.MethodHead {
		return
	}
	err = b.copy(ctx, w, at)
	g.log.Debug("reader left", "broadcast", name, "peer", r.RemoteAddr, "err", err)
	if err != nil {
		panic(http.ErrAbortHandler) // the reader is to know that this is no end
	}
}

// join counts a reader of a broadcast, which is followed from the first one on.
func (g *Gateway) join(ns object.Namespace, name string) (*broadcast, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return nil, errors.New("leaving")
	}
	b := g.live[name]
	if b != nil && b.enter() {
		return b, nil
	}
	if len(g.live) >= 2*g.c.MaxReaders { // as many may linger
		return nil, errors.New("too many broadcasts")
	}
	b = &broadcast{g: g, ns: ns, name: name, changed: make(chan struct{}), readers: 1}
	g.live[name] = b
	ctx, stop := context.WithCancel(g.ctx)
	b.stop = stop
	g.running.Go(func() {
		defer stop()
		b.follow(ctx)
	})
	return b, nil
}

// enter counts a reader, unless the broadcast is over.
func (b *broadcast) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	b.readers++
	if b.unused != nil {
		b.unused.Stop()
	}
	return true
}

// leave counts a reader out. Without any, the broadcast is left a little later.
func (b *broadcast) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers--; b.readers > 0 || b.over {
		return
	}
	b.unused = time.AfterFunc(b.g.c.Linger, func() {
		b.mu.Lock()
		unused := b.readers == 0
		b.over = b.over || unused // so that nobody enters any more
		b.mu.Unlock()
		if unused {
			b.stop()
		}
	})
}

// follow takes the broadcast's objects until ctx ends or they do.
func (b *broadcast) follow(ctx context.Context) {
	pr, pw := io.Pipe()
	var writing sync.WaitGroup
	var err error
	writing.Go(func() {
		err = b.g.c.Follow(ctx, b.ns, pw)
		pw.CloseWithError(io.EOF)
	})
	for in := object.NewReader(pr); ; {
		rec, rerr := in.Next()
		if rerr != nil {
			pr.CloseWithError(rerr)
			break
		}
		if !rec.IsTrack && rec.Object.Status == object.Normal {
			b.put(rec.Object.Group, slices.Clone(rec.Object.Payload))
		}
	}
	writing.Wait()
	b.g.mu.Lock()
	if b.g.live[b.name] == b {
		delete(b.g.live, b.name)
	}
	b.g.mu.Unlock()
	b.mu.Lock()
	b.over, b.err = true, err
	b.change()
	b.mu.Unlock()
	b.g.log.Debug("broadcast left", "broadcast", b.name, "err", err)
}

// put adds a payload. Groups that there is no room for leave, the oldest first; one that is too large by itself too.
func (b *broadcast) put(id uint64, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.groups)
	if n == 0 || b.groups[n-1].id != id {
		b.groups = append(b.groups, &group{id: id})
		n++
	}
	g := b.groups[n-1]
	if g.gone {
		return
	}
	cost := len(payload) + overhead
	g.payloads, g.bytes, b.bytes = append(g.payloads, payload), g.bytes+cost, b.bytes+cost
	for len(b.groups) > 1 && b.bytes > b.g.c.BufferBytes {
		b.drop(b.groups[0])
		b.groups = b.groups[1:]
	}
	if b.bytes > b.g.c.BufferBytes {
		b.drop(g)
		b.g.log.Warn("a group is larger than the buffer", "broadcast", b.name, "group", id)
	}
	b.change()
}

func (b *broadcast) drop(g *group) {
	b.bytes -= g.bytes
	g.payloads, g.bytes, g.gone = nil, 0, true
}

// change wakes all readers; the mutex is held.
func (b *broadcast) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// begin waits for a group to begin with: the newest.
func (b *broadcast) begin(ctx context.Context) (*group, error) {
	for {
		b.mu.Lock()
		g, over, err, changed := b.newest(), b.over, b.err, b.changed
		b.mu.Unlock()
		switch {
		case g != nil:
			return g, nil
		case over && err != nil:
			return nil, err
		case over:
			return nil, errors.New("the broadcast is over")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// newest is the newest group that can be read; the mutex is held.
func (b *broadcast) newest() *group {
	if n := len(b.groups); n > 0 && !b.groups[n-1].gone {
		return b.groups[n-1]
	}
	return nil
}

// copy writes from a group on, until a write fails, ctx ends, or the broadcast does: nil if it ended by itself.
func (b *broadcast) copy(ctx context.Context, w http.ResponseWriter, at *group) error {
	rc := http.NewResponseController(w)
	written := 0 // payloads of the group
	defer context.AfterFunc(ctx, func() { rc.SetWriteDeadline(time.Now()) })()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.mu.Lock()
		payload, next, changed, lost, over, end := []byte(nil), (*group)(nil), b.changed, at.gone, b.over, b.err
		switch i := slices.Index(b.groups, at); {
		case lost: // the reader was too slow: the objects between are lost
			if next = b.newest(); next == at {
				next = nil
			}
		case written < len(at.payloads):
			if payload = at.payloads[written]; payload == nil {
				payload = []byte{}
			}
		case i >= 0 && i < len(b.groups)-1:
			next = b.groups[i+1]
		}
		b.mu.Unlock()
		switch {
		case payload != nil:
			written++
			if err := b.write(ctx, rc, w, payload); err != nil {
				return err
			}
			continue
		case next != nil:
			if lost {
				b.g.log.Info("reader too slow, going on with the newest group", "broadcast", b.name, "from", at.id, "to", next.id)
			}
			at, written = next, 0
			continue
		case over:
			return end
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// write writes a payload in pieces, each of which must be written in time, and before ctx ends.
func (b *broadcast) write(ctx context.Context, rc *http.ResponseController, w io.Writer, payload []byte) error {
	for part := range slices.Chunk(payload, piece) {
		if err := b.g.c.Pace(ctx, len(part)); err != nil {
			return err
		}
		if err := rc.SetWriteDeadline(time.Now().Add(b.g.c.WriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if ctx.Err() != nil { // the deadline that this set is over, too
			return context.Cause(ctx)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
