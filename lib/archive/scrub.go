package archive

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Times and bounds of a scrub.
const (
	scrubEvery  = 24 * time.Hour         // between the beginnings of two passes
	scrubIdle   = time.Minute            // between looks whether there is something to do, and the pause after an error that may pass
	scrubSave   = time.Minute            // how often it notes how far it is
	scrubRetry  = 10 * time.Minute       // between attempts to fetch what nobody had
	scrubRest   = time.Hour              // the pause after much was damaged in succession
	scrubWait   = 100 * time.Millisecond // the shortest pause for the rate's sake, so that small groups do not wake the process for each of them
	scrubForget = 7 * 24 * time.Hour
	// perGroup is what a group counts at least against the rate, because a small one costs the disk a seek, too.
	perGroup = 64 << 10
	// mostInSuccession is how many damaged groups may follow each other that nobody has whole: more of them are a fault of the disk or of the
	// machine, and the files may be good.
	mostInSuccession = 32
	// mostPauses is how often it waits for an error of one group to pass.
	mostPauses = 10
	// mostWaiting bounds the groups that are remembered to be fetched.
	mostWaiting = 1000
)

// Scrub reads the stored groups again and again, at a bounded rate, and compares them with their hashes. What is damaged is set aside, and fetched
// from whoever has it.
type Scrub struct {
	Store *store.Store
	// Rate bounds the bytes a second that are read, and those that are fetched. Required.
	Rate int64
	// File is where it notes how far it is. Default: nowhere.
	File string
	// Heal fetches what is missing of a group, and reports whether it is whole then. It calls pace before it fetches so many bytes. Default:
	// nobody is asked.
	Heal func(ctx context.Context, t object.TrackName, group uint64, pace func(context.Context, int) error) bool
	// Logger gets events. Default: none.
	Logger *slog.Logger

	next  time.Time // when the rate allows to read more
	run   int       // damaged groups in succession that nobody had
	vain  int       // pauses in succession for one group
	said  string    // the last error of noting how far it is
	noted time.Time // when it was last noted how far it is
	tried time.Time // when what nobody had was last asked for again

	mu sync.Mutex // guards what follows
	p  Scrubbed
}

// Progress returns how far the scrub is.
func (s *Scrub) Progress() Scrubbed {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.p
	p.Waiting = slices.Clone(p.Waiting)
	return p
}

func (s *Scrub) change(f func(p *Scrubbed)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.p)
}

// Run scrubs until ctx ends.
func (s *Scrub) Run(ctx context.Context) {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.resume()
	defer s.note()
	for ctx.Err() == nil {
		if s.due(time.Now()) {
			s.pass(ctx)
		}
		s.retry(ctx)
		s.note()
		sleep(ctx, scrubIdle)
	}
}

// due reports whether a pass is under way or is to begin. A clock that was set back does not stop the scrub.
func (s *Scrub) due(now time.Time) bool {
	p := s.Progress()
	return p.Over == nil || now.Sub(p.Begun) >= scrubEvery || now.Before(p.Begun)
}

// pass goes through the store, from where it stopped.
func (s *Scrub) pass(ctx context.Context) {
	s.change(func(p *Scrubbed) {
		if p.Over != nil || p.Begun.IsZero() {
			*p = Scrubbed{V: 1, Begun: time.Now().UTC(), Bad: p.Bad, Healed: p.Healed, Waiting: p.Waiting}
		}
		p.Rate = s.Rate
	})
	at := Place{}
	if n := s.Progress().Next; n != nil {
		at = *n
	}
	s.noted = time.Now()
	for _, name := range s.Store.Tracks() {
		switch written := name.String(); {
		case written == at.Track:
			s.track(ctx, name, at.Group)
		case written > at.Track:
			s.track(ctx, name, 0)
		}
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now().UTC()
	s.change(func(p *Scrubbed) { p.Next, p.Over = nil, &now })
	p := s.Progress()
	if p.Groups == 0 {
		return
	}
	s.Logger.Info("all stored groups were compared with their hashes", "groups", p.Groups, "bytes", p.Bytes, "waiting", len(p.Waiting), "took", now.Sub(p.Begun).Round(time.Second))
}

// track goes through a track, from a group on.
func (s *Scrub) track(ctx context.Context, name object.TrackName, from uint64) {
	for ctx.Err() == nil {
		t := s.Store.Lookup(name)
		if t == nil {
			return
		}
		g, ok := t.Next(from)
		if !ok {
			return
		}
		s.change(func(p *Scrubbed) { p.Next = &Place{name.String(), g.Group} })
		if !s.group(ctx, t, g) {
			continue // it is looked at again
		}
		from = g.Group + 1
		if time.Since(s.noted) >= scrubSave {
			s.noted = time.Now()
			s.note()
		}
		s.retry(ctx)
	}
}

// group looks at one group; false: it has to be looked at again. Groups that are not whole are left to those who look for what is missing.
func (s *Scrub) group(ctx context.Context, t *store.Track, g store.Info) (over bool) {
	if !g.Complete && !g.Damaged || g.Tiered && !g.Damaged { // whole groups of the cold tier would be downloaded each day
		return true
	}
	s.pace(ctx, perGroup)
	read := 0
	pace := func(n int) error {
		if read += n; read <= perGroup {
			return ctx.Err()
		}
		return s.pace(ctx, n)
	}
	_, bytes, err := t.Scrub(g.Group, pace)
	if err != nil && !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		_, bytes, err = t.Scrub(g.Group, pace) // the file may have got another name or been replaced meanwhile, or the error have passed
	}
	switch now, has := t.Group(g.Group); {
	case ctx.Err() != nil:
		return false
	case err == nil:
		s.run, s.vain = 0, 0
		s.change(func(p *Scrubbed) { p.Groups, p.Bytes = p.Groups+1, p.Bytes+bytes })
		return true
	case store.MayPass(err) && s.vain < mostPauses:
		s.vain++
		s.pause(ctx, scrubIdle, err)
		return false
	case store.MayPass(err): // the next pass looks at it again
		s.vain = 0
		return true
	case !has && (s.Store.Gone(t.Name(), g.Group) || !isRemoved(err)), has && now.Complete: // retention was faster, or somebody healed it
		return true
	}
	return s.bad(ctx, t, g, err)
}

// bad sets a damaged group aside and fetches it again.
func (s *Scrub) bad(ctx context.Context, t *store.Track, g store.Info, why error) (over bool) {
	if s.run >= mostInSuccession {
		s.run = 0
		s.pause(ctx, scrubRest, why)
		return false
	}
	s.run++
	kept := 0
	if t.Has(g.Group) {
		var err error
		if kept, err = t.Mend(g.Group); err != nil && !errors.Is(err, store.ErrNotFound) {
			s.Logger.Error("damaged group stays where it is", "track", t.Name().String(), "group", g.Group, "err", err, "damage", why)
		}
	}
	s.Logger.Warn("damaged group", "track", t.Name().String(), "group", g.Group, "whole_objects", kept, "err", why)
	s.change(func(p *Scrubbed) { p.Groups++ })
	if s.found(ctx, Place{t.Name().String(), g.Group}) {
		s.run = 0
	}
	return true
}

// found fetches a group that is damaged, and remembers the group if nobody has it.
func (s *Scrub) found(ctx context.Context, at Place) (healed bool) {
	s.change(func(p *Scrubbed) { p.Bad++ })
	w := Waiting{at, time.Now().UTC()}
	if s.heal(ctx, w) {
		return true
	}
	s.change(func(p *Scrubbed) {
		if len(p.Waiting) < mostWaiting && !slices.ContainsFunc(p.Waiting, func(o Waiting) bool { return o.Place == at }) {
			p.Waiting = append(p.Waiting, w)
		}
	})
	return false
}

// heal fetches a group, and reports whether it is whole.
func (s *Scrub) heal(ctx context.Context, w Waiting) bool {
	name, err := object.ParseTrackName(w.Track)
	if err != nil || s.Heal == nil || !s.Heal(ctx, name, w.Group, s.pace) {
		return false
	}
	s.Logger.Info("damaged group healed", "track", w.Track, "group", w.Group)
	s.change(func(p *Scrubbed) { p.Healed++ })
	return true
}

// lost fetches what others than the scrub found removed or damaged, such as a viewer's FETCH. The scrub does not come to these groups, as the
// store has them no longer.
func (s *Scrub) lost(ctx context.Context) {
	for _, l := range s.Store.Lost() {
		at := Place{l.Track.String(), l.Group}
		t := s.Store.Lookup(l.Track)
		if t == nil {
			continue
		}
		known := slices.ContainsFunc(s.Progress().Waiting, func(w Waiting) bool { return w.Place == at })
		if g, ok := t.Group(l.Group); known || ok && g.Complete || s.Store.Gone(l.Track, l.Group) {
			continue // the scrub had found it itself, or somebody healed it
		}
		s.found(ctx, at)
	}
}

// retry fetches what nobody had before, when it is time to.
func (s *Scrub) retry(ctx context.Context) {
	s.lost(ctx)
	if time.Since(s.tried) >= scrubRetry {
		s.fetchWaiting(ctx)
		s.tried = time.Now()
	}
}

// fetchWaiting tries to heal what nobody had before. What retention would have removed by now, or nobody
// had for a week, is forgotten.
func (s *Scrub) fetchWaiting(ctx context.Context) {
	for _, w := range s.Progress().Waiting {
		name, err := object.ParseTrackName(w.Track)
		if ctx.Err() != nil || err == nil && !s.Store.Gone(name, w.Group) && time.Since(w.Since) < scrubForget && !s.heal(ctx, w) {
			continue
		}
		s.change(func(p *Scrubbed) {
			p.Waiting = slices.DeleteFunc(p.Waiting, func(o Waiting) bool { return o.Place == w.Place })
		})
	}
}

// pause waits, and says why.
func (s *Scrub) pause(ctx context.Context, d time.Duration, why error) {
	s.Logger.Warn("comparing stored groups with their hashes pauses", "for", d, "err", why)
	s.change(func(p *Scrubbed) { p.Paused = why.Error() })
	sleep(ctx, d)
	s.change(func(p *Scrubbed) { p.Paused = "" })
}

// pace waits until the rate allows so many bytes. It allows no more than a second's at once after a time without any.
func (s *Scrub) pace(ctx context.Context, n int) error {
	now := time.Now()
	if earliest := now.Add(-time.Second); s.next.Before(earliest) {
		s.next = earliest
	}
	s.next = s.next.Add(time.Duration(float64(n) / float64(s.Rate) * float64(time.Second)))
	if wait := s.next.Sub(now); wait >= scrubWait {
		sleep(ctx, wait)
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
