package relay

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Records of the operators' door; docs/format/admin.md has them. Times are UTC, ages and durations seconds.

// Status is the record of the command status.
type Status struct {
	V        int       `json:"v"` // 1
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Uptime   float64   `json:"uptime"`
	Key      Key       `json:"key"`
	Listen   []string  `json:"listen"`
	HTTP     []string  `json:"http"`
	Sessions []Peer    `json:"sessions"`
	Tracks   []Track   `json:"tracks"`
	Counters Stats     `json:"counters"`
	Store    Disk      `json:"store"`
	Limits   Limits    `json:"limits"`
	// Takedowns is how many there are.
	Takedowns int `json:"takedowns"`
	// Tickets are the tickets that have not expired; missing if they cannot be read.
	Tickets []mesh.Ticket  `json:"tickets,omitempty"`
	Mirror  *mesh.Progress `json:"mirror,omitempty"`
	// Backfill is how far the holes were filled in what publishers send: what these have stored, and upstreams and peers.
	Backfill *mesh.Progress `json:"backfill,omitempty"`
	// Scrub is how far stored groups were compared with their hashes; missing: they are not.
	Scrub *archive.Scrubbed `json:"scrub,omitempty"`
}

// Limits says what was refused because a peer had too much.
type Limits struct {
	Peers   int              `json:"peers"`   // of which something counts
	Refused map[string]int64 `json:"refused"` // by the limit's name, what was refused or held up
}

func (r *Relay) limited() Limits {
	l := Limits{Peers: r.limits.Accounts(), Refused: make(map[string]int64)}
	for k, n := range r.limits.Refused() {
		l.Refused[k.String()] = n
	}
	return l
}

// Key identifies the relay.
type Key struct {
	Fingerprint string `json:"fingerprint"` // to be pinned
	ID          string `json:"id"`          // the public key itself, hex: its id in iroh
	Certificate string `json:"certificate"` // fingerprint of the certificate that programs see now
}

// Peer is one session.
type Peer struct {
	Peer           string       `json:"peer"` // its address; of an upstream, the address that was dialed
	Path           string       `json:"path"` // what it runs over, as moqt.Session.Transport has it
	Role           string       `json:"role"` // client, upstream or peer
	Draft          moqt.Version `json:"draft"`
	Implementation string       `json:"implementation,omitempty"`
	URL            string       `json:"url,omitempty"` // path and query that a client asked for
	Since          time.Time    `json:"since"`
	Publishes      int          `json:"publishes"` // tracks that it sends
	Sent           Traffic      `json:"sent"`
	Received       Traffic      `json:"received"`
	Repair         *Repair      `json:"repair,omitempty"` // nil: the other side cannot, or it is off
}

// Repair is what was made good on the path to a peer.
type Repair struct {
	Active  bool    `json:"active"` // what is sent is repaired at the moment
	Loss    float64 `json:"loss"`   // part of what is sent that the path loses, lately
	RTT     int64   `json:"rtt_us"`
	Parity  uint64  `json:"parity"` // parity frames sent
	Resent  uint64  `json:"resent"`
	Missing uint64  `json:"missing"` // datagrams of the peer's that did not come
	Coded   uint64  `json:"coded"`   // of them made from parity
	Again   uint64  `json:"again"`   // of them sent again
	GivenUp uint64  `json:"given_up"`
	Breaks  uint64  `json:"breaks"` // how often the path was full and losses were shown to QUIC
}

// Traffic counts what was sent in one direction.
type Traffic struct {
	Streams   uint64 `json:"streams"`
	Objects   uint64 `json:"objects"`
	Bytes     uint64 `json:"bytes"`
	Datagrams uint64 `json:"datagrams"`
}

// Track is one track that is live, was since the start, or is stored.
type Track struct {
	Track       string   `json:"track"` // written form
	Publishers  int      `json:"publishers"`
	Subscribers int      `json:"subscribers"`
	Group       *uint64  `json:"group,omitempty"` // the newest
	Age         *float64 `json:"age,omitempty"`   // of the newest group's last object
	// Latency is how long after it was broadcast the newest group of a broadcast's track began to come; missing: not known for certain.
	Latency *float64 `json:"latency,omitempty"`
	// Health is the newest entry of a health track.
	Health  *catalog.Health `json:"health,omitempty"`
	Senders []Sender        `json:"senders,omitempty"`
}

// Sender is a publisher of a track, or a home in quarantine that is gone.
type Sender struct {
	Home         string `json:"home"`              // tells publishers apart: a key, or an address
	Source       string `json:"source,omitempty"`  // as the log names the publisher; missing: it is gone
	Standby      string `json:"standby,omitempty"` // rests or sends; missing: it is none
	Objects      int64  `json:"objects"`           // new ones
	Corroborated int64  `json:"corroborated"`      // that another one had brought, with the same hash
	Conflicts    int64  `json:"conflicts"`         // that contradict what another one had brought; refused
	Refused      int64  `json:"refused"`           // that contradict their own hash
	Apart        int64  `json:"apart"`             // of groups that were held apart
	Strange      string `json:"strange,omitempty"` // why the last of these groups was
	Confirmed    int64  `json:"confirmed"`         // groups that other homes brought, too, object for object
	Contradicted int64  `json:"contradicted"`      // groups of which a majority of homes brought something else
	Disputed     int64  `json:"disputed"`          // groups of which another home brought something else, and nobody can tell who is right
	// Quarantined is when the quarantine of the home ends; missing: it is not quarantined.
	Quarantined *time.Time `json:"quarantined,omitempty"`
}

// Disk is the store.
type Disk struct {
	Dir       string  `json:"dir"`
	Bytes     int64   `json:"bytes"`
	Tracks    int     `json:"tracks"`
	Groups    int     `json:"groups"`
	Removed   int64   `json:"removed"` // groups, by retention, since the start
	Full      int64   `json:"full"`    // objects refused because the disk was full, since the start
	Retention []Bound `json:"retention"`
	// Paused is why objects cannot be stored at the moment; missing: they can.
	Paused *Paused `json:"paused,omitempty"`
	// Tier is the cold tier; missing: there is none, and nothing lies in one.
	Tier *Tier `json:"tier,omitempty"`
	// LeftOut is how many files and folders in the store's folder the relay does without, because they cannot be read, are damaged,
	// or are not of a store; Parts are the first of them.
	LeftOut int    `json:"left_out"`
	Parts   []Part `json:"left_out_parts,omitempty"`
}

// Tier is the cold tier of the store.
type Tier struct {
	Bucket   string     `json:"bucket,omitempty"` // missing: none is configured, and groups lie in one
	After    float64    `json:"after"`            // how long after it was last written a group moves there
	Age      *float64   `json:"age,omitempty"`    // how long whole groups are kept, 0: for ever; missing: as retention says
	Groups   int        `json:"groups"`
	Bytes    int64      `json:"bytes"`
	Waiting  int        `json:"waiting"`            // groups that are to move there
	Moved    int64      `json:"moved"`              // groups, since the start
	Stays    int64      `json:"stays,omitempty"`    // times that a group was found that cannot move there, since the start
	Deleting int        `json:"deleting,omitempty"` // objects that are to be deleted from the bucket
	Error    string     `json:"error,omitempty"`    // why nothing moves at the moment
	Since    *time.Time `json:"since,omitempty"`    // when that began
}

// Paused says why objects cannot be stored.
type Paused struct {
	Why     string    `json:"why"`
	Since   time.Time `json:"since"`
	Objects int64     `json:"objects"` // that were not stored since
}

// Part is a file or folder that the relay does without.
type Part struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// mostParts bounds the parts that the record names.
const mostParts = 100

// Bound is the retention of namespaces with a prefix; the first one is that of all other namespaces. 0: no bound.
type Bound struct {
	Prefix string  `json:"prefix,omitempty"`
	Age    float64 `json:"age"`
	Bytes  int64   `json:"bytes"`
}

// Stored is the record of the command store.
type Stored struct {
	V      int           `json:"v"` // 1
	Store  Disk          `json:"store"`
	Tracks []StoredTrack `json:"tracks"`
}

// StoredTrack is one track of the store.
type StoredTrack struct {
	Track  string `json:"track"`
	Groups int    `json:"groups"`
	Whole  int    `json:"whole"` // of them
	Bytes  int64  `json:"bytes"` // of the files
	// TierGroups of the groups lie in the cold tier, with so many bytes there.
	TierGroups int       `json:"tier_groups,omitempty"`
	TierBytes  int64     `json:"tier_bytes,omitempty"`
	First      uint64    `json:"first"`
	Last       uint64    `json:"last"`
	Oldest     time.Time `json:"oldest"` // of the groups' files, when they were last written
	Newest     time.Time `json:"newest"`
	// Missing are groups of which a stored manifest says that they went out, and which are not stored; Incomplete are stored groups of
	// which a part is missing, but for the newest. Of each the record names the first thousand.
	Missing         []uint64 `json:"missing,omitempty"`
	MissingCount    int      `json:"missing_count,omitempty"`
	Incomplete      []uint64 `json:"incomplete,omitempty"`
	IncompleteCount int      `json:"incomplete_count,omitempty"`
}

// statusOf returns what makes the record of the command status.
func (r *Relay) statusOf(c ServerConfig, certs *keys.Certificates, up *Started, tickets *mesh.Tickets) func() Status {
	started := time.Now()
	return func() Status {
		now := time.Now()
		s := Status{
			V: 1, Version: c.Version, Started: started.UTC(), Uptime: now.Sub(started).Seconds(),
			Key: Key{
				Fingerprint: certs.Pin().String(), ID: hex.EncodeToString(certs.PrivateKey().Public().(ed25519.PublicKey)),
				Certificate: keys.OfCertificate(certs.Program()).String(),
			},
			Listen: []string{}, HTTP: append([]string{}, up.HTTP...), Sessions: r.peers(), Tracks: r.trackStatus(now), Counters: r.Stats(), Store: diskOf(r.store, c.Dir),
			Limits: r.limited(), Backfill: r.mend.Progress(), Scrub: r.scrubbed(),
		}
		if ts := r.c.Takedowns; ts != nil {
			if list, err := ts.List(); err == nil {
				s.Takedowns = len(list)
			}
		}
		if r.mirror != nil {
			s.Mirror = r.mirror.Progress()
		}
		for _, a := range up.Listen {
			s.Listen = append(s.Listen, a.String())
		}
		var err error
		if s.Tickets, err = tickets.List(now); err != nil {
			r.log.Error("tickets cannot be looked at, nobody comes with one", "err", err)
		}
		return s
	}
}

// handleAdmin adds the commands of a relay to the operators' door.
func (r *Relay) handleAdmin(door *admin.Server, c ServerConfig, status func() Status) {
	door.Handle("status", func(_ context.Context, args json.RawMessage) (any, error) {
		if err := admin.Arguments(args, &struct{}{}); err != nil {
			return nil, err
		}
		return status(), nil
	})
	door.Handle("pardon", func(ctx context.Context, args json.RawMessage) (any, error) {
		record, err := r.pardon(args)
		if done, is := record.(Pardoned); is && err == nil {
			r.c.Audit.Add(auth.Entry{What: "pardon", Who: admin.Who(ctx), Subject: done.Home, Detail: fmt.Sprintf("%d quarantines ended", done.Ends)})
		}
		return record, err
	})
	for _, name := range StoreCommands {
		door.Handle(name, func(ctx context.Context, args json.RawMessage) (any, error) {
			var o archive.Order
			if err := admin.Arguments(args, &o); err != nil {
				return nil, err
			}
			record, err := storeCommand(ctx, r.store, diskOf(r.store, c.Dir), name, o)
			tellDeleted(r.c.Audit, admin.Who(ctx), o, record, err)
			return record, err
		})
	}
}

// peers returns all sessions: upstreams first, then clients by age.
func (r *Relay) peers() []Peer {
	r.mu.Lock()
	var all []*session
	for _, u := range r.upstreams {
		if u.s != nil && !u.accepted { // otherwise it stands among the clients
			all = append(all, u.s)
		}
	}
	for s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	list := make([]Peer, 0, len(all))
	for _, s := range all {
		list = append(list, s.status())
	}
	slices.SortStableFunc(list, func(a, b Peer) int {
		return cmp.Or(-cmp.Compare(a.Role, b.Role), a.Since.Compare(b.Since), cmp.Compare(a.Peer, b.Peer))
	})
	return list
}

func (s *session) status() Peer {
	st := s.s.Stats()
	p := Peer{
		Peer: s.name, Path: s.s.Transport(), Role: "client", Draft: s.s.Version(), Since: s.since.UTC(),
		Sent: Traffic(st.Sent), Received: Traffic(st.Received),
	}
	if r := s.s.Repair(); r.Spoken {
		p.Repair = &Repair{r.Active, r.Loss, r.RTT.Microseconds(), r.Parity, r.Resent, r.Missing, r.Coded, r.Again, r.GivenUp, r.Breaks}
	}
	if s.up != nil {
		p.Role = "upstream"
		if s.up.bothWays() {
			p.Role = "peer"
		}
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // a session that has not told this yet is not waited for
	if info, err := s.s.Peer(now); err == nil {
		p.Implementation, p.URL = info.Implementation, mesh.WithoutToken(info.Path)
	}
	s.mu.Lock()
	p.Publishes = len(s.claimed)
	if s.adopted {
		p.Role = "peer"
	}
	s.mu.Unlock()
	return p
}

// trackStatus returns every known track, in order of the names.
func (r *Relay) trackStatus(now time.Time) []Track {
	r.mu.Lock()
	live := make(map[string]*track, len(r.tracks))
	for name, t := range r.tracks {
		live[name] = t
	}
	r.mu.Unlock()
	all := make(map[string]Track)
	for _, name := range r.store.Tracks() {
		all[name.String()] = r.storedStatus(name, now)
	}
	for name, t := range live {
		if s, ok := t.status(now); ok {
			if was := all[name]; s.Age == nil && was.Group != nil { // its newest group has left memory
				s.Group, s.Age = was.Group, was.Age
			}
			all[name] = s
		}
	}
	list := make([]Track, 0, len(all))
	for _, s := range all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Track) int { return cmp.Compare(a.Track, b.Track) })
	r.see(list, live)
	return list
}

func (r *Relay) storedStatus(name object.TrackName, now time.Time) Track {
	s := Track{Track: name.String()}
	if t := r.store.Lookup(name); t != nil {
		if sum, ok := t.Summary(); ok {
			age := now.Sub(sum.LastWritten).Seconds()
			s.Group, s.Age = &sum.Last, &age
		}
	}
	return s
}

// status returns the status of a track in memory; false if there is nothing to tell.
func (t *track) status(now time.Time) (s Track, ok bool) {
	s = Track{Track: t.name.String(), Subscribers: t.subs.count()}
	var age *time.Duration
	s.Publishers, s.Group, age = t.Status(now)
	if age != nil {
		seconds := age.Seconds()
		s.Age = &seconds
	}
	for _, p := range t.Track.Senders() {
		o := Sender{
			Home: p.Who, Source: p.Name, Objects: p.Objects, Corroborated: p.Duplicates, Conflicts: p.Conflicts, Refused: p.Refused, Apart: p.Apart, Strange: p.Strange,
			Confirmed: p.Confirmed, Contradicted: p.Contradicted, Disputed: p.Disputed,
		}
		switch {
		case p.Standby && p.Sends:
			o.Standby = "sends"
		case p.Standby:
			o.Standby = "rests"
		}
		if !p.Until.IsZero() {
			until := p.Until.UTC()
			o.Quarantined = &until
		}
		s.Senders = append(s.Senders, o)
	}
	return s, s.Publishers > 0 || s.Subscribers > 0 || s.Group != nil
}
