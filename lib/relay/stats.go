package relay

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// counters are what happened since the relay started.
type counters struct {
	objects, bytes, duplicates, conflicts, refused, notStored atomic.Int64 // received
	brokenStreams, refusedSessions                            atomic.Int64
	sentObjects, sentBytes, sentFromDisk                      atomic.Int64
	resetIncomplete, resetLag, resetTimeout, resetBroken      atomic.Int64 // groups not sent to their end
	fetches, liveTracks, subscribers                          atomic.Int64
	backfilled                                                atomic.Int64
}

// Stats is a snapshot of the counters.
type Stats struct {
	Sessions, Subscribers, LiveTracks int64

	Objects, Bytes  int64 // new objects received
	Duplicates      int64 // objects that another source had brought, with the same hash
	Conflicts       int64 // objects that contradict what another source had brought; refused
	Refused         int64 // objects that contradict their own hash property; refused
	NotStored       int64 // objects served live although they could not be stored
	BrokenStreams   int64 // streams of publishers that ended without FIN
	RefusedSessions int64

	SentObjects, SentBytes int64
	SentFromDisk           int64 // of SentObjects
	Fetches                int64
	Backfilled             int64 // objects fetched from upstreams
	ResetIncomplete        int64 // groups reset because nobody continued them
	ResetLag               int64 // groups reset because the subscriber was too far behind
	ResetTimeout           int64 // groups reset because the subscriber's delivery timeout passed
	ResetBroken            int64 // streams reset inside an object, whose rest did not come or contradicted its hash
}

// Stats returns the counters.
func (r *Relay) Stats() Stats {
	c := &r.stats
	r.mu.Lock()
	sessions := len(r.sessions)
	r.mu.Unlock()
	return Stats{
		Sessions: int64(sessions), Subscribers: c.subscribers.Load(), LiveTracks: c.liveTracks.Load(),
		Objects: c.objects.Load(), Bytes: c.bytes.Load(), Duplicates: c.duplicates.Load(), Conflicts: c.conflicts.Load(),
		Refused: c.refused.Load(), NotStored: c.notStored.Load(), BrokenStreams: c.brokenStreams.Load(), RefusedSessions: c.refusedSessions.Load(),
		SentObjects: c.sentObjects.Load(), SentBytes: c.sentBytes.Load(), SentFromDisk: c.sentFromDisk.Load(), Fetches: c.fetches.Load(), Backfilled: c.backfilled.Load(),
		ResetIncomplete: c.resetIncomplete.Load(), ResetLag: c.resetLag.Load(), ResetTimeout: c.resetTimeout.Load(), ResetBroken: c.resetBroken.Load(),
	}
}

// LogStats logs the counters of relay and store.
func (r *Relay) LogStats(level slog.Level) {
	s, d := r.Stats(), r.store.Stats()
	r.log.Log(context.Background(), level, "counters",
		"sessions", s.Sessions, "subscribers", s.Subscribers, "live_tracks", s.LiveTracks,
		"objects", s.Objects, "bytes", s.Bytes, "duplicates", s.Duplicates, "conflicts", s.Conflicts, "refused", s.Refused,
		"not_stored", s.NotStored, "broken_streams", s.BrokenStreams, "refused_sessions", s.RefusedSessions,
		"sent_objects", s.SentObjects, "sent_bytes", s.SentBytes, "sent_from_disk", s.SentFromDisk, "fetches", s.Fetches, "backfilled", s.Backfilled,
		"reset_incomplete", s.ResetIncomplete, "reset_lag", s.ResetLag, "reset_timeout", s.ResetTimeout, "reset_broken", s.ResetBroken,
		"store_bytes", d.Bytes, "store_tracks", d.Tracks, "store_groups", d.Groups, "store_removed", d.Removed)
}
