package relay

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"every.channel/ec/lib/moqt"
)

// counters count what happened since the relay started, beside what live.Counts counts.
type counters struct {
	brokenStreams, refusedSessions                       atomic.Int64
	sentObjects, sentBytes, sentFromDisk                 atomic.Int64
	resetIncomplete, resetLag, resetTimeout, resetBroken atomic.Int64 // groups not sent to their end
	fetches, subscribers                                 atomic.Int64
	backfilled, takeovers                                atomic.Int64
}

// Stats is a snapshot of the counters, by the names that the log gives them.
type Stats struct {
	Sessions    int64 `json:"sessions"`
	Subscribers int64 `json:"subscribers"`
	LiveTracks  int64 `json:"live_tracks"`

	Objects         int64 `json:"objects"` // new ones received
	Bytes           int64 `json:"bytes"`
	Duplicates      int64 `json:"duplicates"`     // objects that another source had brought, with the same hash
	Conflicts       int64 `json:"conflicts"`      // objects that contradict what another source had brought; refused
	Refused         int64 `json:"refused"`        // objects that contradict their own hash property; refused
	Apart           int64 `json:"apart"`          // objects of groups that were held apart; refused
	NotStored       int64 `json:"not_stored"`     // objects served live although they could not be stored
	BrokenStreams   int64 `json:"broken_streams"` // streams of publishers that ended without FIN
	RefusedSessions int64 `json:"refused_sessions"`

	SentObjects     int64 `json:"sent_objects"`
	SentBytes       int64 `json:"sent_bytes"`
	SentFromDisk    int64 `json:"sent_from_disk"` // of SentObjects
	Fetches         int64 `json:"fetches"`
	Backfilled      int64 `json:"backfilled"`       // objects fetched from upstreams
	Takeovers       int64 `json:"takeovers"`        // how often a standby was asked to send
	Quarantined     int64 `json:"quarantined"`      // how often a home was quarantined, for a track
	ResetIncomplete int64 `json:"reset_incomplete"` // groups reset because nobody continued them
	ResetLag        int64 `json:"reset_lag"`        // groups reset because the subscriber was too far behind
	ResetTimeout    int64 `json:"reset_timeout"`    // groups or subgroups reset because the subscriber's delivery timeout passed
	ResetBroken     int64 `json:"reset_broken"`     // streams reset inside an object, whose rest did not come or contradicted its hash
}

// Stats returns the counters.
func (r *Relay) Stats() Stats {
	c, in := &r.stats, &r.live.Counts
	r.mu.Lock()
	sessions := len(r.sessions)
	r.mu.Unlock()
	return Stats{
		Sessions: int64(sessions), Subscribers: c.subscribers.Load(), LiveTracks: r.live.LiveTracks(),
		Objects: in.Objects.Load(), Bytes: in.Bytes.Load(), Duplicates: in.Duplicates.Load(), Conflicts: in.Conflicts.Load(),
		Refused: in.Refused.Load(), Apart: in.Apart.Load(), NotStored: in.NotStored.Load(), BrokenStreams: c.brokenStreams.Load(), RefusedSessions: c.refusedSessions.Load(),
		SentObjects: c.sentObjects.Load(), SentBytes: c.sentBytes.Load(), SentFromDisk: c.sentFromDisk.Load(), Fetches: c.fetches.Load(), Backfilled: c.backfilled.Load(), Takeovers: c.takeovers.Load(), Quarantined: in.Quarantined.Load(),
		ResetIncomplete: c.resetIncomplete.Load(), ResetLag: c.resetLag.Load(), ResetTimeout: c.resetTimeout.Load(), ResetBroken: c.resetBroken.Load(),
	}
}

// LogStats logs the counters of relay and store.
func (r *Relay) LogStats(level slog.Level) {
	s, d := r.Stats(), r.store.Stats()
	r.log.Log(context.Background(), level, "counters",
		"sessions", s.Sessions, "subscribers", s.Subscribers, "live_tracks", s.LiveTracks,
		"objects", s.Objects, "bytes", s.Bytes, "duplicates", s.Duplicates, "conflicts", s.Conflicts, "refused", s.Refused, "apart", s.Apart,
		"not_stored", s.NotStored, "broken_streams", s.BrokenStreams, "refused_sessions", s.RefusedSessions,
		"sent_objects", s.SentObjects, "sent_bytes", s.SentBytes, "sent_from_disk", s.SentFromDisk, "fetches", s.Fetches, "backfilled", s.Backfilled, "takeovers", s.Takeovers, "quarantined", s.Quarantined,
		"reset_incomplete", s.ResetIncomplete, "reset_lag", s.ResetLag, "reset_timeout", s.ResetTimeout, "reset_broken", s.ResetBroken,
		"store_bytes", d.Bytes, "store_tracks", d.Tracks, "store_groups", d.Groups, "store_removed", d.Removed, "store_left_out", d.LeftOut)
	if p := r.scrubbed(); p != nil {
		r.log.Log(context.Background(), level, "scrub counters", "groups", p.Groups, "bytes", p.Bytes, "bad", p.Bad, "healed", p.Healed, "waiting", len(p.Waiting))
	}
	if r.tally != nil {
		r.log.LogAttrs(context.Background(), level, "transport counters", transportAttrs(r.tally.Stats())...)
	}
}

// transportAttrs are the counters of sessions as attributes of a log record.
func transportAttrs(s moqt.Stats) []slog.Attr {
	traffic := func(name string, t moqt.Traffic) slog.Attr {
		return slog.Group(name, "streams", t.Streams, "objects", t.Objects, "bytes", t.Bytes, "datagrams", t.Datagrams)
	}
	requests := map[string]uint64{}
	for name, o := range s.RequestsReceived {
		for outcome, n := range map[string]uint64{"accepted": o.Accepted, "refused": o.Refused} {
			requests[name+"."+outcome] = n
		}
	}
	return []slog.Attr{
		slog.Int("sessions", s.Sessions), counts("ended", s.Ended, moqt.SessionCode.String),
		traffic("sent", s.Sent), traffic("received", s.Received), slog.Uint64("datagrams_dropped", s.DatagramsDropped),
		counts("requests", requests, strings.ToLower),
		counts("resets_sent", s.ResetsSent, moqt.ResetCode.String), counts("resets_received", s.ResetsReceived, moqt.ResetCode.String),
		counts("stops_sent", s.StopsSent, moqt.ResetCode.String), counts("stops_received", s.StopsReceived, moqt.ResetCode.String),
		counts("limits", s.Limits, strings.ToLower),
		slog.Duration("write_wait", s.WriteWait), slog.Duration("stream_wait", s.StreamWait),
	}
}

// counts is a group of the numbers that are not 0, by the names of what they count.
func counts[K comparable](group string, m map[K]uint64, name func(K) string) slog.Attr {
	var attrs []any
	for k, n := range m {
		if n > 0 {
			attrs = append(attrs, slog.Uint64(strings.ToLower(name(k)), n))
		}
	}
	slices.SortFunc(attrs, func(a, b any) int { return strings.Compare(a.(slog.Attr).Key, b.(slog.Attr).Key) })
	return slog.Group(group, attrs...)
}
