package sub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// listVersion is the "v" of Listing.
const listVersion = 1

// Listing is one track of a relay, a line of ec-sub --list --json.
type Listing struct {
	V          int               `json:"v"`
	Namespace  string            `json:"namespace"`
	Track      string            `json:"track"`
	Current    bool              `json:"current,omitempty"` // what the namespace alone stands for
	Packaging  string            `json:"packaging,omitempty"`
	Codec      string            `json:"codec,omitempty"`
	FirstGroup *uint64           `json:"first_group,omitempty"`
	LastGroup  *uint64           `json:"last_group,omitempty"`
	From       *time.Time        `json:"from,omitempty"` // when the first group of a transport stream began, and the last one, where a timeline tells
	To         *time.Time        `json:"to,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Broadcast  string            `json:"broadcast,omitempty"` // that a source promotes to
}

// List writes what the first relay has below a prefix, as a table or as JSON Lines. What it could not get is named in the error.
func List(ctx context.Context, c Config, prefix object.Namespace, asJSON bool, w io.Writer) error {
	var list []Listing
	var lost []string
	err := client.Run(ctx, client.Config{
		Relay: c.Relays[0], Iroh: c.Iroh, Token: c.Token, TLS: c.TLS, Session: moqt.Config{Logger: c.Log, QLogDir: c.QLogDir, Versions: c.Versions, NoRepair: c.NoRepair}, Dial: c.Dial,
		RetryStart: c.RetryStart, RetryLost: c.RetryLost, Log: c.Log,
	}, func(ctx context.Context, sess *client.Session) error {
		list = nil
		q := &lister{sess: sess, log: c.Log}
		defer func() { lost = q.lost }()
		ctx, cancel := context.WithTimeout(ctx, listPatience)
		defer cancel()
		all, err := namespaces(ctx, sess, prefix)
		if err != nil {
			return err
		}
		known, err := tracks(ctx, sess)
		if err == nil && len(known) == 0 {
			known, err = q.promotions(ctx)
		}
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(a, b object.Namespace) int { return strings.Compare(a.String(), b.String()) })
		for _, ns := range all {
			l, err := q.namespace(ctx, ns, known[ns.String()])
			if err != nil {
				return err
			}
			list = append(list, l...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(list) == 0 && c.Log != nil {
		c.Log.Warn("the relay has nothing there", "below", prefix.String())
	}
	if err := writeList(w, list, asJSON); err != nil || len(lost) == 0 || c.AllowGaps {
		return err
	}
	return fmt.Errorf("%w: the relay did not give %s", ErrList, strings.Join(lost, ", "))
}

func writeList(w io.Writer, list []Listing, asJSON bool) error {
	if !asJSON {
		return writeTable(w, list, time.Now())
	}
	enc := json.NewEncoder(w)
	for _, l := range list {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// tracksOf is the namespace below which a relay of this project tells of its tracks (docs/format/chain.md). trackMark stands
// before the name of a track.
var tracksOf = object.Namespace{".ec-routes", "track"}

const trackMark = "="

// tracks returns the names of the tracks that the relay has or can get, by namespace. Only relays of this project tell them.
func tracks(ctx context.Context, sess *client.Session) (map[string][]string, error) {
	peer, err := sess.Peer(ctx)
	if err != nil || !strings.HasPrefix(peer.Implementation, "every.channel") {
		return nil, err
	}
	routes, err := namespaces(ctx, sess, tracksOf[:1])
	if refused := (*moqt.RequestError)(nil); err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	known := map[string][]string{}
	for _, r := range routes {
		if len(r) < 5 || !r.HasPrefix(tracksOf) || !strings.HasPrefix(r[3], trackMark) {
			continue
		}
		ns, name := r[4:].String(), r[3][len(trackMark):]
		if !slices.Contains(known[ns], name) {
			known[ns] = append(known[ns], name)
		}
	}
	for _, names := range known {
		slices.Sort(names)
	}
	return known, nil
}

// promotions returns the tracks to which sources promote their chunks, by namespace.
func promotions(ctx context.Context, sess *client.Session) (map[string][]string, error) {
	sources, err := namespaces(ctx, sess, sourcePrefix)
	if refused := (*moqt.RequestError)(nil); err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	tracks := map[string][]string{}
	for _, s := range sources {
		c, _ := readStored(ctx, sess, catalog.Of(s))
		if c != nil && c.EC != nil && c.EC.BroadcastTrack != "" && !slices.Contains(tracks[c.EC.Broadcast], c.EC.BroadcastTrack) {
			tracks[c.EC.Broadcast] = append(tracks[c.EC.Broadcast], c.EC.BroadcastTrack)
		}
	}
	for _, names := range tracks {
		slices.Sort(names)
	}
	return tracks, nil
}

// promotions is promotions for a listing: a catalog that the relay does not give is noted.
func (l *lister) promotions(ctx context.Context) (tracks map[string][]string, err error) {
	err = l.ask(ctx, "what sources promote to", func(ctx context.Context) (err error) {
		tracks, err = promotions(ctx, l.sess)
		return err
	})
	return tracks, err
}

// namespace lists the tracks that the namespace's catalog names, those that are known otherwise, and those that every
// namespace of this project may have.
func (l *lister) namespace(ctx context.Context, ns object.Namespace, known []string) (list []Listing, err error) {
	lost := len(l.lost)
	c, err := l.catalog(ctx, catalog.Of(ns))
	if err != nil {
		return nil, err
	}
	d := described{names: []string{}, tracks: map[string]*catalog.Track{}, noCatalog: c == nil}
	var current *catalog.Track
	if c != nil {
		current = c.TS()
		for i := range c.Tracks {
			if t := &c.Tracks[i]; t.Namespace == "" || t.Namespace == ns.String() {
				d.name(t.Name)
				d.tracks[t.Name] = t
			}
		}
	}
	if err := d.variants(ctx, l, ns, known); err != nil {
		return nil, err
	}
	d.name(catalog.TrackTS, catalog.TrackCatalog, catalog.TrackManifest, catalog.TrackTimeline, catalog.TrackSI, catalog.TrackHealth)
	d.name(known...)
	for _, name := range d.names {
		line, there, err := d.list(ctx, l, object.TrackName{Namespace: ns, Name: name})
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		line.Current = current != nil && d.tracks[name] == current
		if c != nil && c.EC != nil && name == catalog.TrackCatalog {
			line.Labels, line.Broadcast = c.EC.Labels, c.EC.Broadcast
		}
		list = append(list, line)
	}
	if chunks := slices.ContainsFunc(list, func(l Listing) bool { return catalog.IsTS(l.Track) }); d.noCatalog && len(l.lost) == lost &&
		(chunks && len(ns) > 0 && ns[0] == sourcePrefix[0] || len(list) > 0 && ns.HasPrefix(sourcePrefix)) {
		l.note("a catalog of "+ns.String(), errors.New("there are tracks and no catalog"))
	}
	if len(list) == 0 {
		list = append(list, Listing{V: listVersion, Namespace: ns.String()})
	}
	return list, nil
}

// catalog reads the newest catalog that the relay gives; nil if there is none. One that is newer, or is something else, is noted.
func (l *lister) catalog(ctx context.Context, t object.TrackName) (c *catalog.Catalog, err error) {
	err = l.ask(ctx, t.String(), func(ctx context.Context) (err error) {
		c, err = readStored(ctx, l.sess, t)
		return err
	})
	return c, err
}

// times adds to a line when its first and its last group began, if a timeline tells.
func (l *lister) times(ctx context.Context, name object.TrackName, largest *moqt.Location, line *Listing) error {
	return l.ask(ctx, "when "+name.String()+" was on", func(ctx context.Context) error {
		q := &lookup{track: track{written: name.String(), name: name, ids: tagged, log: slog.New(slog.DiscardHandler)}, sess: l.sess, largest: largest}
		w, err := q.wallClock(ctx)
		if err != nil || len(w.timelines) == 0 {
			return nil // what cannot be had is told elsewhere
		}
		at := func(group uint64) time.Time { return w.Time(clock.GroupBucket(group)).UTC().Round(time.Millisecond) }
		from, to := at(*line.FirstGroup), at(*line.LastGroup)
		line.From, line.To = &from, &to
		return nil
	})
}

// described collects the tracks that a namespace may have, and what catalogs say of them.
type described struct {
	names     []string // in the order in which they are listed
	tracks    map[string]*catalog.Track
	noCatalog bool // there is none
}

// name adds names that are not there yet.
func (d *described) name(names ...string) {
	for _, n := range names {
		if !slices.Contains(d.names, n) {
			d.names = append(d.names, n)
		}
	}
}

// variants adds the known tracks of chunks; each variant of a broadcast has a catalog of its own.
func (d *described) variants(ctx context.Context, l *lister, ns object.Namespace, known []string) error {
	read := []string{catalog.TrackCatalog}
	for _, n := range known {
		if !catalog.IsTS(n) {
			continue
		}
		d.name(n)
		of := catalog.For(object.TrackName{Namespace: ns, Name: n})
		if slices.Contains(read, of.Name) {
			continue
		}
		read = append(read, of.Name)
		d.name(of.Name)
		variant, err := l.catalog(ctx, of)
		if err != nil {
			return err
		}
		if variant == nil {
			continue
		}
		d.noCatalog = false
		for i := range variant.Tracks {
			if t := &variant.Tracks[i]; d.tracks[t.Name] == nil && slices.Contains(known, t.Name) {
				d.tracks[t.Name] = t
			}
		}
	}
	return nil
}

// list asks the relay about a track. The track is there if it has a group, or if a catalog names it.
func (d *described) list(ctx context.Context, l *lister, name object.TrackName) (line Listing, there bool, _ error) {
	line = Listing{V: listVersion, Namespace: name.Namespace.String(), Track: name.Name}
	var largest *moqt.Location
	err := l.ask(ctx, "the groups of "+name.String(), func(ctx context.Context) error {
		info, err := l.sess.TrackStatus(ctx, name)
		if largest = info.Largest; err != nil || largest == nil {
			return err
		}
		last := largest.Group
		line.LastGroup = &last
		g, err := (track{written: name.String(), name: name}).firstGroup(ctx, l.sess, largest)
		if err == nil {
			line.FirstGroup = &g
		}
		return err
	})
	if err != nil {
		return line, false, err
	}
	if largest != nil && line.FirstGroup != nil && idsOf(name) == tagged && catalog.IsTS(name.Name) {
		if err := l.times(ctx, name, largest, &line); err != nil {
			return line, false, err
		}
	}
	t := d.tracks[name.Name]
	if t != nil {
		line.Packaging, line.Codec = t.Packaging, t.Codec
	}
	return line, t != nil || largest != nil, nil
}
