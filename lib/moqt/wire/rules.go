package wire

// Rule is something that a draft wants of a session and that no codec shows. Whoever acts by one asks Version.Has, so that a
// rule of one draft is not applied to another by accident.
type Rule uint8

// Rules in which drafts differ.
const (
	// JoinLargestObject: a joining FETCH is for a SUBSCRIBE with filter Largest Object; any other closes the session (draft-16
	// §9.16.2).
	JoinLargestObject Rule = iota
	// JoinWaits: a joining FETCH that came before its SUBSCRIBE, or before a REQUEST_UPDATE that was sent earlier, waits for it
	// (draft-18 §10.12.2).
	JoinWaits
	// JoinForwarding: a joining FETCH for a subscription with Forward State 0 is refused with INVALID_RANGE (draft-18 §10.12.2).
	JoinForwarding
	// JoinPublished: a joining FETCH may be for a track that was offered with PUBLISH (draft-18 §5.1).
	JoinPublished
	// JoinResumed: what a joining FETCH ends with is the largest object when the subscription was resumed, if it was paused
	// before; else always that of its beginning (draft-18 §5.1).
	JoinResumed
	// SessionTracks: names below ".session" are the session's own and those below "." nobody's; a request for an unknown one gets
	// DOES_NOT_EXIST and reaches no handler (draft-18 §3.2.2).
	SessionTracks

	// GoAwayNamesRequest: GOAWAY on the control stream has the id of the first request that was not taken (draft-18 §10.4).
	GoAwayNamesRequest
	// ListingUpdates: a namespace subscription may be updated (draft-18 §10.9).
	ListingUpdates
	// TracksApart: PUBLISH of what is below a prefix is asked for with SUBSCRIBE_TRACKS, not with SUBSCRIBE_NAMESPACE (draft-18
	// §10.17).
	TracksApart
	// OneSubscription: a track has one subscription of each side in a session; another is refused (draft-18 §5.1).
	OneSubscription
	// AnswerShapes: who takes a PUBLISH says in the answer how it wants the track; else in a REQUEST_UPDATE after that (draft-20
	// §10.11).
	AnswerShapes
	// Fills: what came before a subscription is asked for in it, with FILL_PARAMETERS; there is no joining FETCH (draft-20 §5.1.3).
	Fills
	// FINEnds: who asked for a namespace or a listing, or offers a namespace, ends that with FIN; else FIN only says that no updates
	// follow (draft-18 §3.3, draft-20 §3.3.2).
	FINEnds

	// ObjectTimeouts: the first object of a subgroup may have timeouts in its properties, which count for the subgroup in place of the
	// track's (draft-19 §8).
	ObjectTimeouts
	// OwnStreams: each request has a bidirectional stream of its own, and control messages travel on a pair of unidirectional streams
	// (draft-17 §3.3).
	OwnStreams

	rules // how many
)

// ruleSet has a bit for each rule.
type ruleSet uint64

func setOf(list ...Rule) (s ruleSet) {
	for _, r := range list {
		s |= 1 << r
	}
	return s
}

// Rules lists all that there are.
func Rules() (list []Rule) {
	for r := range rules {
		list = append(list, r)
	}
	return list
}

// Choose is with for a draft that has a rule and without for another. A session chooses once what it does by its draft.
func Choose[T any](v Version, r Rule, with, without T) T {
	if v.Has(r) {
		return with
	}
	return without
}

// Has reports whether the draft has a rule.
func (v Version) Has(r Rule) bool { return drafts[v].rules&(1<<r) != 0 }
