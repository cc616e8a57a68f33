package moqt

import (
	"testing"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

func TestAliases(t *testing.T) {
	table := newAliasTable()
	sub := func(name string) *Subscription { return &Subscription{track: object.TrackName{Name: name}} }
	a, again := sub("a"), sub("a")
	_, wait := table.get(7, 0)
	if wait == nil {
		t.Fatal("an unknown alias may come")
	}
	if err := table.add(7, a); err != nil {
		t.Fatal(err)
	}
	select {
	case <-wait:
	default:
		t.Error("who waits for an alias was not woken")
	}
	if got, _ := table.get(7, 0); got != a {
		t.Error("not found")
	}
	if table.add(7, sub("b")) == nil || table.add(7, again) == nil {
		t.Error("one alias for two subscriptions")
	}
	a.done = &wire.PublishDone{}
	if err := table.add(7, again); err != nil {
		t.Errorf("for the same track after its end: %v", err)
	}
	table.retire(7, a) // which has it no more
	if got, _ := table.get(7, 0); got != again {
		t.Error("retired with another")
	}
	table.refuse(7)
	if got, _ := table.get(7, 0); got != again {
		t.Error("refused though it is a subscription's")
	}
	table.retire(7, again)
	if got, wait := table.get(7, 0); got != nil || wait != nil {
		t.Error("streams of a retired alias are waited for")
	}
	for i := range uint64(maxRetiredAliases) {
		table.refuse(100 + i)
	}
	if _, wait := table.get(7, 0); wait == nil || len(table.retired) != maxRetiredAliases {
		t.Error("aliases that are over pile up")
	}
	if !table.hold(1) || table.hold(1) {
		t.Error("more streams wait than may")
	}
	table.release()
	if !table.hold(1) {
		t.Error("a place is not given back")
	}
}
