package moqt

import (
	"fmt"
	"slices"
	"sync"

	"every.channel/ec/lib/moqt/wire"
)

// aliasTable maps the peer's track aliases to subscriptions (§10.1).
type aliasTable struct {
	mu      sync.Mutex // guards what follows; Subscription.mu is taken under it
	subs    map[uint64][]*Subscription
	retired map[uint64]struct{} // aliases of ended subscriptions: their late streams are refused at once
	order   []uint64            // of retirement
	pending int                 // streams waiting for an alias
	changed chan struct{}       // closed and replaced when an alias is added
}

const maxRetiredAliases = 1024

func newAliasTable() *aliasTable {
	return &aliasTable{subs: map[uint64][]*Subscription{}, retired: map[uint64]struct{}{}, changed: make(chan struct{})}
}

// add makes alias stand for sub alone. A subscription to the same track that is ending makes room.
func (t *aliasTable) add(alias uint64, sub *Subscription) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, old := range t.subs[alias] {
		if old.track.String() != sub.track.String() || !old.ending() {
			return usedFor(alias, old, sub)
		}
	}
	t.subs[alias] = nil
	t.put(alias, sub)
	return nil
}

// share makes alias stand for sub, too: subscriptions to one track may have one alias (draft-19 §5.1).
func (t *aliasTable) share(alias uint64, sub *Subscription) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, old := range t.subs[alias] {
		if old.track.String() != sub.track.String() {
			return usedFor(alias, old, sub)
		}
	}
	t.put(alias, sub)
	return nil
}

func usedFor(alias uint64, old, sub *Subscription) error {
	return &wire.Error{Code: wire.DuplicateTrackAlias, What: fmt.Sprintf("track alias %d of %v used for %v", alias, old.track, sub.track)}
}

// put has mu held.
func (t *aliasTable) put(alias uint64, sub *Subscription) {
	t.subs[alias] = append(t.subs[alias], sub)
	delete(t.retired, alias)
	close(t.changed)
	t.changed = make(chan struct{})
}

// retire forgets sub's alias, remembering it for late streams.
func (t *aliasTable) retire(alias uint64, sub *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subs := t.subs[alias]
	i := slices.Index(subs, sub)
	if i < 0 {
		return
	}
	if t.subs[alias] = slices.Delete(subs, i, i+1); len(subs) == 1 {
		delete(t.subs, alias)
		t.remember(alias)
	}
}

// refuse remembers an alias whose streams are not wanted, unless it is a subscription's.
func (t *aliasTable) refuse(alias uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.subs[alias]) == 0 {
		t.remember(alias)
	}
}

// remember has mu held.
func (t *aliasTable) remember(alias uint64) {
	if _, ok := t.retired[alias]; ok {
		return
	}
	t.retired[alias] = struct{}{}
	t.order = append(t.order, alias)
	if len(t.order) > maxRetiredAliases {
		delete(t.retired, t.order[0])
		t.order = append(t.order[:0], t.order[1:]...)
	}
}

// get finds the subscription of an alias that a group is for, nil if there is none. Then, if the alias may still come, wait is closed
// when there are others.
func (t *aliasTable) get(alias, group uint64) (sub *Subscription, wait <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if subs := t.subs[alias]; len(subs) > 0 {
		return choose(subs, group), nil
	}
	if _, gone := t.retired[alias]; gone {
		return nil, nil
	}
	return nil, t.changed
}

// choose finds out which of several subscriptions with one alias a group is for: one whose filter it passes. If it passes several, it
// comes once for each (draft-19 §5.1), so the one that had the fewest streams is next.
func choose(subs []*Subscription, group uint64) *Subscription {
	if len(subs) == 1 {
		return subs[0]
	}
	var best *Subscription
	var fewest uint64
	for _, sub := range subs {
		if wants, seen := sub.wants(group); wants && (best == nil || seen < fewest) {
			best, fewest = sub, seen
		}
	}
	return or(best, subs[0])
}

// hold counts a stream that waits for its alias, unless there are most already.
func (t *aliasTable) hold(most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending >= most {
		return false
	}
	t.pending++
	return true
}

// release ends what hold began.
func (t *aliasTable) release() {
	t.mu.Lock()
	t.pending--
	t.mu.Unlock()
}
