package pub

import (
	"context"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// trim keeps the memory within its bounds. Groups that every relay has go first, because of their age or for want of room. Others
// go only for want of room, the oldest whole one first, and if the input must not wait.
func (s *spool) trim(ctx context.Context, now time.Time) error {
	for {
		over := s.bytes > s.maxBytes || len(s.groups) > maxGroups
		sent, old := s.leaving(over, now)
		switch {
		case sent != nil:
			s.evict(sent)
			s.pass(sent, now)
		case old == nil: // what is left is in time, or one unfinished group is larger than the memory, which must be borne
			return nil
		case !s.mustWait(now):
			s.evict(old)
		case !over: // nobody wants the group now, but there is room, and nothing may be dropped
			return nil
		default: // wait for room
			if !s.await(ctx, func() bool {
				for _, g := range s.groups {
					if g.state != open && s.isSent(g) {
						return true
					}
				}
				return s.allGone()
			}) {
				return context.Cause(ctx)
			}
			if s.allGone() {
				return nil
			}
			now = time.Now()
		}
	}
}

// leaving returns the first group that every relay has and that need not stay; else, as old, the first one that would have to go.
func (s *spool) leaving(over bool, now time.Time) (sent, old *group) {
	for _, g := range s.groups {
		if g.state == open {
			continue
		}
		isSent, expired := s.isSent(g), now.Sub(g.touched) > s.maxAge
		if isSent && (over || expired) {
			return g, nil
		}
		if old == nil && !isSent && (over || expired && s.unwanted(g)) {
			old = g
		}
	}
	return nil, old
}

// unwanted reports whether no relay that lacks a group wants objects of its track now.
func (s *spool) unwanted(g *group) bool {
	for r, sent := range g.sent {
		if !sent && !s.gone[r] && !g.track.paused[r] {
			return false
		}
	}
	return true
}

// mustWait reports whether the input can wait. A tuner cannot. A file can, and shows it by giving more than two seconds of media
// in a second. An input without timestamps waits.
func (s *spool) mustWait(now time.Time) bool {
	if s.wait {
		return true
	}
	if s.faster == nil {
		var media time.Duration
		var began time.Time
		for _, t := range s.names {
			first, last := -1, -1
			for i, g := range t.groups {
				if g.hasPTS {
					if first < 0 {
						first = i
					}
					last = i
				}
			}
			if first >= 0 && last > first {
				if d := t.groups[last].pts.Sub(t.groups[first].pts).Duration(); d > media {
					media, began = d, t.groups[first].began
				}
			}
		}
		if media == 0 {
			return true
		}
		faster := media > 2*now.Sub(began)
		s.faster = &faster
	}
	return *s.faster
}

func (s *spool) isSent(g *group) bool {
	for r, sent := range g.sent {
		if !sent && !s.gone[r] {
			return false
		}
	}
	return true
}

func (s *spool) allGone() bool {
	for _, gone := range s.gone {
		if !gone {
			return false
		}
	}
	return true
}

// passed is the last object of a group that left the spool soon after it was sent.
type passed struct {
	track    object.TrackName
	at       moqt.Location
	when     time.Time
	unwanted []bool // as the group's
}

// last returns the object whose arrival shows that all of a whole group arrived, because one stream carries a group in order.
// False if there is no such object.
func (g *group) last() (moqt.Location, bool) {
	if g.state != whole || len(g.objects) == 0 {
		return moqt.Location{}, false
	}
	return moqt.Location{Group: g.id, Object: g.lastID[g.objects[len(g.objects)-1].Subgroup]}, true
}

// pass remembers a group that leaves the spool and was sent lately. A group that is older than the spool has arrived, or was sent
// again, or was lost with its session.
func (s *spool) pass(g *group, now time.Time) {
	for len(s.passed) > 0 && (len(s.passed) >= maxGroups || now.Sub(s.passed[0].when) > s.maxAge) {
		s.passed = s.passed[1:]
	}
	if at, ok := g.last(); ok && g.promised() && !g.dropped && now.Sub(g.touched) <= s.maxAge {
		s.passed = append(s.passed, passed{g.track.name, at, now, g.unwanted})
	}
}

// evict removes a group; senders that are at work on a dropped group reset its stream.
func (s *spool) evict(g *group) {
	lost := false
	for r, sent := range g.sent {
		switch {
		case sent:
		case s.gone[r]:
			s.Undelivered++
		case s.leave(g, r):
			g.dropped = true
		default:
			s.Dropped++
			g.dropped, lost = true, true
		}
	}
	if lost {
		s.log.Warn("memory full, group dropped before every relay had it", "track", g.track.name.String(), "group", g.id)
	}
	s.bytes -= g.bytes
	s.groups = remove(s.groups, g)
	t := g.track
	t.groups = remove(t.groups, g)
	if len(t.given) >= 64 {
		clear(t.given) // given only guards against late objects
	}
	t.given[g.id] = true
	delete(t.inserted, g.id)
	s.cond.Broadcast()
}

func remove(list []*group, g *group) []*group {
	for i := range list {
		if list[i] == g {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}
