package moqt

import (
	"fmt"
	"sync"

	"every.channel/ec/lib/moqt/wire"
)

// aliasTable maps the peer's track aliases to subscriptions (§10.1).
type aliasTable struct {
	mu      sync.Mutex // guards what follows; Subscription.mu is taken under it
	subs    map[uint64]*Subscription
	retired map[uint64]struct{} // aliases of ended subscriptions: their late streams are refused at once
	order   []uint64            // of retirement
	pending int                 // streams waiting for an alias
	changed chan struct{}       // closed and replaced when an alias is added
}

const maxRetiredAliases = 1024

func newAliasTable() *aliasTable {
	return &aliasTable{subs: map[uint64]*Subscription{}, retired: map[uint64]struct{}{}, changed: make(chan struct{})}
}

// add makes alias stand for sub.
func (t *aliasTable) add(alias uint64, sub *Subscription) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.subs[alias]; old != nil && (old.track.String() != sub.track.String() || !old.ending()) {
		return &wire.Error{Code: wire.DuplicateTrackAlias, What: fmt.Sprintf("track alias %d of %v used for %v", alias, old.track, sub.track)}
	}
	t.subs[alias] = sub
	delete(t.retired, alias)
	close(t.changed)
	t.changed = make(chan struct{})
	return nil
}

// retire forgets sub's alias, remembering it for late streams.
func (t *aliasTable) retire(alias uint64, sub *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs[alias] == sub {
		delete(t.subs, alias)
		t.remember(alias)
	}
}

// refuse remembers an alias whose streams are not wanted, unless it is a subscription's.
func (t *aliasTable) refuse(alias uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs[alias] == nil {
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

// get finds the subscription of an alias, nil if there is none. Then, if the alias may still come, wait is closed when there are others.
func (t *aliasTable) get(alias uint64) (sub *Subscription, wait <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sub := t.subs[alias]; sub != nil {
		return sub, nil
	}
	if _, gone := t.retired[alias]; gone {
		return nil, nil
	}
	return nil, t.changed
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
