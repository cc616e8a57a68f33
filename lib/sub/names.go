package sub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// sourcePrefix is the prefix of the namespaces of receivers, docs/format/names.md.
var sourcePrefix = object.Namespace{"ec", "source"}

// ids says what the group ids of a track count (docs/format/names.md).
type ids uint8

const (
	plain   ids = iota // groups, one after the other
	buckets            // buckets of a broadcast's clock
	tagged             // chunks and catalogs: a bucket and a tag
)

func idsOf(t object.TrackName) ids {
	switch {
	case len(t.Namespace) == 0 || t.Namespace[0] != "ec":
		return plain
	case catalog.IsTS(t.Name), t.Name == catalog.TrackCatalog, strings.HasPrefix(t.Name, catalog.TrackCatalog+"_"):
		return tagged
	}
	return buckets
}

// of returns how many ids so many groups take.
func (i ids) of(groups uint64) uint64 {
	if i == tagged {
		return groups * clock.GroupsPerBucket
	}
	return groups
}

// first returns the least group id of a bucket.
func (i ids) first(bucket int64) uint64 { return i.of(uint64(max(bucket, 0))) }

// bucket returns the bucket of a group; of a track that counts groups, its id.
func (i ids) bucket(group uint64) int64 {
	if i == tagged {
		return clock.GroupBucket(group)
	}
	return int64(group)
}

// find returns the track that a name without a track stands for: the current one of a namespace, which the name is or which receivers
// call so. follow: if another track becomes the current one, reading goes on there.
func (p *pull) find(ctx context.Context, sess *client.Session) (name object.TrackName, follow bool, err error) {
	if len(p.name.Namespace) > 0 {
		name, follow, err = p.currentOf(ctx, sess, p.name.Namespace)
		if unknown := (*unknownTrack)(nil); !errors.As(err, &unknown) {
			return name, follow, err
		}
	}
	ns, found, lerr := labelled(ctx, sess, p.written)
	switch {
	case lerr != nil:
		return name, false, lerr
	case found:
		return p.currentOf(ctx, sess, ns)
	case err == nil:
		err = &unknownTrack{p.written, nil}
	}
	return name, false, err
}

// currentOf returns the current track of a namespace's catalog. If a relay has only variants of a broadcast, such as a transcode, there is no
// catalog of that name; then a source tells what it promotes to.
func (p *pull) currentOf(ctx context.Context, sess *client.Session, ns object.Namespace) (name object.TrackName, follow bool, err error) {
	name.Namespace = ns
	c, err := readCatalog(ctx, sess, catalog.Of(ns))
	if r, ok := errors.AsType[*moqt.RequestError](err); ok && r.Code == wire.RequestDoesNotExist {
		promoted, err := promotions(ctx, sess)
		if err != nil {
			return name, false, err
		}
		if variants := promoted[ns.String()]; len(variants) > 0 {
			name.Name = onNow(ctx, sess, ns, variants)
			p.log.Debug("no catalog, but what sources promote to", "variants", len(variants), "taken", name.Name)
			return name, false, nil
		}
	}
	if err != nil {
		return name, false, refused(p.written, err)
	}
	t := c.TS()
	if t == nil {
		return name, false, &unknownTrack{p.written, errors.New("its catalog names no transport stream track")}
	}
	if t.Namespace != "" {
		if name.Namespace, err = object.ParseNamespace(t.Namespace); err != nil {
			return name, false, fmt.Errorf("catalog of %s: %w", p.written, err)
		}
	}
	name.Name = t.Name
	return name, p.c.To.kind == unset || p.c.To.kind == atTime, nil // the other kinds of points name groups of this track
}

// nearby is how many buckets a variant may be behind the newest one and still count as on air.
const nearby = 30

// onNow returns the first variant that is on air, or else the one that was on air last: a variant that ended long ago may still
// be stored.
func onNow(ctx context.Context, sess *client.Session, ns object.Namespace, variants []string) string {
	at, newest := make([]int64, len(variants)), int64(0)
	for i, name := range variants {
		info, err := sess.TrackStatus(ctx, object.TrackName{Namespace: ns, Name: name})
		if err == nil && info.Largest != nil {
			at[i] = clock.GroupBucket(info.Largest.Group)
		}
		newest = max(newest, at[i])
	}
	return variants[slices.IndexFunc(at, func(bucket int64) bool { return bucket >= newest-nearby })]
}

// source is a receiver, and what its catalog says; nil if that was not asked.
type source struct {
	namespace object.Namespace
	catalog   *catalog.Catalog
}

// sources returns the namespaces whose timeline may tell the time of the track: its own, or those of sources that promote into
// it.
func (q *lookup) sources(ctx context.Context) (list []source, _ error) {
	ns := q.name.Namespace
	if ns.HasPrefix(sourcePrefix) {
		return []source{{namespace: ns}}, nil
	}
	all, err := namespaces(ctx, q.sess, sourcePrefix)
	if err != nil {
		q.log.Debug("relay lists no sources", "err", err)
		return nil, nil
	}
	for _, s := range all {
		c, _ := readStored(ctx, q.sess, catalog.Of(s)) // an older one will do
		if c != nil && c.EC != nil && c.EC.Broadcast == ns.String() {
			list = append(list, source{s, c})
		}
	}
	return list, nil
}

// A list of namespaces is taken for complete when it has not grown for the time quiet, because SUBSCRIBE_NAMESPACE has no end. On a busy machine
// the relay, or this program, may be quiet for as long in the middle of the list. So another request is made then, which a relay answers
// in its turn, and the list must not grow for a little while after the answer, for which nobody waits longer than answers takes.
const (
	quiet   = 300 * time.Millisecond
	answers = 2 * time.Second
)

// namespaces lists what the relay has below a prefix at this moment.
func namespaces(ctx context.Context, sess *client.Session, prefix object.Namespace) (list []object.Namespace, err error) {
	s, err := sess.SubscribeNamespace(ctx, prefix, moqt.SubscribeNamespaceOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	asked := false // since the list has grown
	for {
		wait := quiet
		if asked {
			wait /= 3
		}
		next, cancel := context.WithTimeout(ctx, wait)
		e, err := s.Next(next)
		over := next.Err() == nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && (asked || over): // it has not grown, or was ended
			return list, nil
		case err != nil:
			asked = true
			ask, cancel := context.WithTimeout(ctx, answers)
			sess.TrackStatus(ask, catalog.Of(tracksOf[:1])) // a track that nobody has; whatever the answer is
			cancel()
		default:
			asked = false
			if !e.Done {
				list = append(list, e.Namespace)
			}
		}
	}
}
