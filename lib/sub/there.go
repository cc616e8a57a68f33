package sub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
)

const (
	// therePatience bounds the time in which a relay must say whether it has something of what was asked for.
	therePatience = 10 * time.Second
	// apart is how much later than the newest group a time may be and still be on its way, and how much later than asked for a track
	// may begin without a message: chunks are as long as their broadcaster wants.
	apart = 10 * time.Second
)

// notThere is the error that a relay has nothing of what was asked for.
type notThere struct {
	name, what string
	again      bool // it may come
}

func (e *notThere) Error() string { return e.name + ": " + e.what }
func (e *notThere) ExitCode() int { return exit.Unreachable }
func (e *notThere) Hint() string {
	return "--nearest takes what is nearest; ec-sub --list RELAY shows which groups are there"
}
func (e *notThere) Unwrap() error {
	if e.again {
		return client.ErrAgain
	}
	return nil
}

// there checks that the range is not inverted or empty, and that the relay has something of what was asked for. nearest: it moves the
// range to what is nearest instead.
func (q *lookup) there(ctx context.Context, from, to Point, nearest bool, b *bounds) error {
	if q.largest == nil {
		if from.kind == atGroup && q.told {
			return &unknownTrack{q.written, errors.New("nothing was published yet")}
		}
		return nil // it is not known, or there is nothing yet
	}
	newest := moqt.Location{Group: q.largest.Group, Object: q.largest.Object + 1}
	if (to.kind == atGroup || to.kind == atTime) && newest.Less(b.end) {
		q.log.Info("what is not there yet is waited for", "newest", newest.Group, "to", q.place(b.end.Group-1))
	}
	named := from.kind == atGroup || from.kind == atTime
	switch {
	case b.start == nil && !(moqt.Location{Group: newest.Group}).Less(b.end):
		return q.inverted("the range ends before the group that is being sent")
	case named && to.kind != now && !b.start.Less(b.end):
		return q.inverted("the range ends before it begins")
	case b.start == nil, !named && b.start.Less(b.end):
		return nil
	case from.kind == atTime && newest.Group < b.start.Group && q.soon(b.start.Group):
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, therePatience)
	defer cancel()
	begin := b.start.Group
	group, what := newest.Group, fmt.Sprintf("%s is newer than the newest group", q.place(begin))
	switch {
	case !named:
		group, what = begin, "the range ends before the first group"
	case begin <= newest.Group:
		first, there, err := q.groupFrom(ctx, q.sess, begin, minLocation(b.end, newest))
		if err != nil {
			q.log.Debug("the relay does not say whether it has the range", "err", err)
			return nil // the reader will see
		}
		if there {
			q.tellFirst(from, begin, first)
			return nil
		}
		what = fmt.Sprintf("the relay has nothing from %s to %s", q.place(begin), q.place(b.end.Group-1))
		if next, there, err := q.groupFrom(ctx, q.sess, begin, newest); err == nil && there {
			group = next
		}
	}
	if nearest {
		q.log.Warn("taking what is nearest", "why", what, "nearest", q.place(group))
		b.start = &moqt.Location{Group: group}
		if !b.start.Less(b.end) {
			b.end = moqt.Location{Group: group + 1}
		}
		return nil
	}
	return &notThere{q.written, fmt.Sprintf("%s; nearest is %s", what, q.place(group)), begin > newest.Group}
}

func (q *lookup) inverted(what string) error {
	return usageError{fmt.Errorf("%w: %s: %s", ErrPoint, q.written, what)}
}

// soon reports whether a group that is not there yet is so near to the newest one that it may be on its way.
func (q *lookup) soon(group uint64) bool {
	return q.wall != nil && q.wall.Time(q.ids.bucket(group)).Sub(q.wall.Time(q.ids.bucket(q.largest.Group))) <= apart
}

// place writes a group for people, with its time if that is known.
func (q *lookup) place(group uint64) string {
	name := fmt.Sprintf("group %d", group)
	if b := clock.GroupBucket(group); q.ids == tagged && (group == q.ids.first(b) || group+1 == q.ids.first(b+1)) {
		name = fmt.Sprintf("bucket %d", b)
	}
	if q.wall == nil {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, q.wall.Time(q.ids.bucket(group)).UTC().Format("2006-01-02T15:04:05Z"))
}

// tellFirst says at once if the relay has nothing from the place that was asked for, and what comes in its place.
func (q *lookup) tellFirst(from Point, asked, group uint64) {
	if q.wall == nil {
		if q.ids.bucket(group)-q.ids.bucket(asked) > 1 {
			q.log.Warn("the relay has nothing from there; what comes next is later", "asked", asked, "next", group)
		}
		return
	}
	if at := q.wall.Time(q.ids.bucket(group)); from.kind == atTime && at.Sub(from.time) > apart {
		q.log.Warn("the relay has nothing from then; what comes next was on later",
			"asked", from.time.UTC().Round(time.Second), "next", at.UTC().Round(time.Second), "group", group)
	}
}

func minLocation(a, b moqt.Location) moqt.Location {
	if b.Less(a) {
		return b
	}
	return a
}
