package sub

import (
	"slices"
	"testing"
	"time"

	"every.channel/ec/lib/client/relaytest"
	"every.channel/ec/lib/object"
)

// again is what is broadcast when a clock comes to a time once more: other chunks, with other tags. reset: the first of them says
// that the clock was reset.
func again(first, n int, reset bool) []object.Object {
	list := groups(first, n)
	for i := range list {
		list[i].Group ^= 1
	}
	if reset {
		prop, _ := object.ParseProperties(list[0].Properties)
		prop.Flags = object.Discontinuity
		list[0].Properties = prop.Append(nil)
	}
	return list
}

// lastOf is the group of the last object.
func lastOf(list []object.Object) uint64 { return list[len(list)-1].Group }

// leave ends reading: what follows cannot be written.
func (rd *reading) leave(follow func()) {
	rd.r.Close()
	follow()
	<-rd.result
}

// A broadcast's clock is set back: what was on is written to its end, then what is on, without a wait where nothing else can be
// meant.
func TestClockSetBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		to     int // the clock was at chunk 24, and reading began with 20
		reset  bool
		relays int
	}{
		{"to what was watched before", 21, false, 1},
		{"to what was watched before, two relays", 21, false, 2},
		{"into the same bucket", 24, true, 1},
		{"to before reading began", 3, true, 1},
		{"to before reading began, two relays", 3, true, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			var all []*relaytest.Relay
			var urls []string
			for range test.relays {
				r := relaytest.New(t)
				all, urls = append(all, r), append(urls, r.URL())
			}
			put := func(list []object.Object) {
				for _, r := range all {
					r.Put(name, list...)
				}
			}
			before, after := groups(20, 5), again(test.to, 30, test.reset)
			put(before[:2])
			c := config(t, all[0])
			if test.relays == 2 {
				c = both(t, all[0], all[1])
			}
			c.Relays, c.Reorder = urls, time.Minute // would be felt
			rd := start(t, testContext(t), c)
			rd.until(20, 0)
			put(before[2:])
			rd.until(24, 3)
			put(after[:4])
			rd.untilGroup(after[0].Group, 3)
			put(after[4:])
			rd.untilGroup(lastOf(after), 3)
			rd.leave(func() { put(again(test.to+30, 1, false)) })
			wantObjects(t, rd.got, slices.Concat(before, after))
			if rd.stats.MissingGroups+rd.stats.MissingObjects > 0 {
				t.Errorf("stats %+v", rd.stats)
			}
		})
	}
}

// What nothing says it is may be late: it is believed to be on when nothing else came for as long as holes are waited for.
func TestClockSetBackUnsaid(t *testing.T) {
	for _, unfinished := range []bool{false, true} {
		relay := relaytest.New(t)
		before, after := groups(20, 2), again(3, 3, false)
		if unfinished { // nobody has the end of what was on
			before = before[:6]
		}
		relay.Put(name, before[:2]...)
		rd := start(t, testContext(t), config(t, relay))
		rd.until(20, 0)
		relay.Put(name, before[2:]...)
		last := before[len(before)-1]
		rd.untilGroup(last.Group, last.ID)
		relay.Put(name, after...)
		rd.untilGroup(lastOf(after), 3)
		rd.leave(func() { relay.Put(name, again(6, 1, false)...) })
		wantObjects(t, rd.got, slices.Concat(before, after))
	}
}

// What comes after it was given up is late, and so is what comes from before reading began while other chunks go on.
func TestLateIsNotBack(t *testing.T) {
	t.Parallel()
	relay := relaytest.New(t)
	all := groups(20, 8)
	relay.Put(name, all[:2]...)
	c := config(t, relay)
	c.Reorder = 2 * time.Second // in which what goes on comes, however busy the machine
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	lost := func(o object.Object) bool { return o.Group == chunk(22) }
	relay.Put(name, without(all[2:4*4], lost)...)
	rd.until(23, 3)
	relay.Put(name, all[4*2:4*3]...) // 22
	relay.Put(name, groups(15, 1)...)
	relay.Put(name, all[4*4:]...)
	rd.until(27, 3)
	rd.leave(func() { relay.Put(name, groups(28, 1)...) })
	wantObjects(t, rd.got, without(all, lost))
	if rd.stats.MissingGroups != 1 {
		t.Errorf("stats %+v", rd.stats)
	}
}

// While the clock is behind where it was, a new session does not bring again what was on then.
func TestSessionLostWhileClockIsBack(t *testing.T) {
	relay := relaytest.New(t)
	before, after := groups(20, 10), again(22, 6, true)
	relay.Put(name, before[:2]...)
	rd := start(t, testContext(t), config(t, relay))
	rd.until(20, 0)
	relay.Put(name, before[2:]...)
	rd.until(29, 3)
	relay.Put(name, after[:4]...)
	rd.untilGroup(after[0].Group, 3)
	relay.Stop()
	relay.Put(name, after[4:12]...) // is fetched
	relay.Start()
	rd.untilGroup(after[8].Group, 2)
	relay.Put(name, after[12:]...)
	rd.untilGroup(lastOf(after), 3)
	rd.leave(func() { relay.Put(name, again(28, 1, false)...) })
	wantObjects(t, without(rd.got, func(o object.Object) bool { return o.Status != object.Normal }),
		without(slices.Concat(before, after), func(o object.Object) bool { return o.Status != object.Normal }))
}

// A clock that is set ahead leaves ids out, and nothing is missing. Only what a relay has between is asked for.
func TestClockSetAhead(t *testing.T) {
	relay := relaytest.New(t)
	before, after := groups(20, 2), again(500, 3, true)
	relay.Put(name, before[:2]...)
	c := config(t, relay)
	c.Reorder = time.Minute // would be felt
	rd := start(t, testContext(t), c)
	rd.until(20, 0)
	relay.Put(name, before[2:]...)
	rd.until(21, 3)
	relay.Put(name, after...)
	rd.untilGroup(lastOf(after), 3)
	rd.leave(func() { relay.Put(name, again(503, 1, false)...) })
	wantObjects(t, rd.got, slices.Concat(before, after))
	if rd.stats.MissingGroups > 0 {
		t.Errorf("stats %+v", rd.stats)
	}
}
