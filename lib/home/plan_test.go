package home

import (
	"fmt"
	"strings"
	"testing"

	"every.channel/ec/lib/hdhr"
)

// lineup makes channels of lines "number name MHz program", with MHz 0 where the device does not tell.
func lineup(lines ...string) (list []hdhr.Channel) {
	for _, l := range lines {
		var c hdhr.Channel
		var mhz int64
		fmt.Sscan(l, &c.Number, &c.Name, &mhz, &c.Program)
		c.Frequency, c.TSID, c.ONID = mhz*1e6, -1, -1
		c.DRM = c.Name == "DRM"
		list = append(list, c)
	}
	return list
}

// text writes a plan as "base address: channel/program ..." lines.
func text(receivers []Receiver, missing []Missing) string {
	var lines []string
	for _, r := range receivers {
		var all []string
		for _, c := range r.Channels {
			all = append(all, fmt.Sprintf("%s/%d", c.Number, c.Program))
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", r.Base, r.Address, strings.Join(all, " ")))
	}
	for _, m := range missing {
		lines = append(lines, fmt.Sprintf("missing %s: %s", m.Channel, m.Why))
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	full := lineup("5.1 ONE 533 3", "5.2 TWO 533 4", "7.1 DRM 545 1", "101 Eins 522 28006", "102 Zwei 522 28007", "9.1 NINE 557 3")
	a := Device{Base: "a", ID: "A", Tuners: 2, Channels: full}
	b := Device{Base: "b", ID: "B", Tuners: 2, Channels: full}
	gone := a
	gone.Gone = true
	for _, c := range []struct {
		name    string
		p       planner
		devices []Device
		before  []Receiver
		want    string
	}{
		{"a multiplex feeds its channels", planner{want: []string{"5.1", "102", "5.2", "101"}}, []Device{a}, nil,
			"a ch533000000: 5.1/3 5.2/4\na ch522000000: 102/28007 101/28006"},
		{"one channel alone needs no multiplex, and a name will do", planner{want: []string{"one"}}, []Device{a}, nil, "a 5.1: 5.1/0"},
		{"all, as far as the tuners go", planner{want: []string{"*"}}, []Device{a}, nil,
			"a ch533000000: 5.1/3 5.2/4\na ch522000000: 101/28006 102/28007\nmissing 9.1: channels before it have every tuner that may be used"},
		{"a second device has tuners, too", planner{want: []string{"*"}}, []Device{a, b}, nil,
			"a ch533000000: 5.1/3 5.2/4\na ch522000000: 101/28006 102/28007\nb 9.1: 9.1/0"},
		{"a tuner is left for others", planner{want: []string{"5.1", "101"}, maxTuners: 1}, []Device{a, b}, nil,
			"a 5.1: 5.1/0\nmissing 101: channels before it have every tuner that may be used"},
		{"a device that gives no whole multiplex", planner{want: []string{"5.1", "5.2", "101"}, single: map[string]bool{"a 533000000": true}}, []Device{a}, nil,
			"a 5.1: 5.1/0\na 5.2: 5.2/0\nmissing 101: channels before it have every tuner that may be used"},
		{"protected, and not there", planner{want: []string{"7.1", "8.8"}}, []Device{a}, nil,
			"missing 7.1: it is copy protected (DRM)\nmissing 8.8: it is in no lineup"},
		{"no frequencies", planner{want: []string{"5.1", "5.2"}}, []Device{{Base: "x", Channels: lineup("5.1 ONE 0 0", "5.2 TWO 0 0")}}, nil,
			"x 5.1: 5.1/0\nx 5.2: 5.2/0"},
		{"a device is gone, and another one takes over", planner{want: []string{"5.1", "5.2"}}, []Device{b, gone},
			[]Receiver{{Base: "a", Channels: []Channel{{Number: "5.1"}, {Number: "5.2"}}}}, "b ch533000000: 5.1/3 5.2/4"},
		{"and keeps what it has when that one is back", planner{want: []string{"5.1", "5.2"}}, []Device{a, b},
			[]Receiver{{Base: "b", Channels: []Channel{{Number: "5.1"}, {Number: "5.2"}}}}, "b ch533000000: 5.1/3 5.2/4"},
		{"nobody takes over, so it stays", planner{want: []string{"5.1"}}, []Device{gone},
			[]Receiver{{Base: "a", Channels: []Channel{{Number: "5.1"}}}}, "a 5.1: 5.1/0"},
		{"twice wanted is once received", planner{want: []string{"5.1", "ONE", "*"}, maxTuners: 1}, []Device{{Base: "x", Channels: full[:2]}}, nil,
			"x ch533000000: 5.1/3 5.2/4"},
	} {
		if got := text(c.p.plan(c.devices, c.before)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestRemember(t *testing.T) {
	before := []Device{{Base: "a", ID: "A"}, {Base: "b", ID: "B"}, {Base: "c", ID: "C"}}
	got := remember([]Device{{Base: "b2", ID: "B"}, {Base: "c", ID: "C"}}, before)
	if len(got) != 3 || got[2].Base != "a" || !got[2].Gone || got[0].Gone {
		t.Errorf("%+v: want b2, which has moved, c, and a, which is gone", got)
	}
}
