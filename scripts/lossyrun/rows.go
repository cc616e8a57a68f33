//go:build linux

package main

import "time"

// row is a path.
type row struct {
	name      string
	link      string        // for lib/netlab, both ways
	rtt       time.Duration // of link
	at        []event
	lasts     time.Duration // 0: as the command line says
	drain     time.Duration // what comes later than this after the end is lost
	ways      []string
	sub       []string // flags of ec-sub
	neighbour bool     // a download over TCP uses the link, too, in the direction of the programme
}

// event is something that happens to the link, a time after that from which objects count.
type event struct {
	after time.Duration
	what  string
}

const up, down, browser, websocket = "up", "down", "browser", "websocket"

// systems are what is measured on each way.
var systems = map[string][]string{up: {"ec", "srt", "hls"}, down: {"ec", "srt", "hls"}, browser: {"ec"}, websocket: {"ec"}}

// rows are all paths, each of 40 ms round trip first.
func rows() (list []row) {
	add := func(rtt time.Duration, delay string, name, link string) *row {
		r := row{name: name, link: "delay=" + delay, rtt: rtt, drain: 5 * time.Second, ways: []string{up, down}}
		if link != "" {
			r.link += "," + link
		}
		list = append(list, r)
		return &list[len(list)-1]
	}
	short := func(name, link string) *row { return add(40*time.Millisecond, "20ms", name, link) }
	long := func(name, link string) *row { return add(200*time.Millisecond, "100ms", "200 ms: "+name, link) }
	short("no loss", "").ways = []string{up, down, browser, websocket}
	short("loss 0.1 %", "loss=0.1%")
	short("loss 1 %", "loss=1%").ways = []string{up, down, browser, websocket}
	short("loss 3 %", "loss=3%").ways = []string{up, down, browser, websocket}
	short("loss 5 %", "loss=5%")
	short("loss 10 %", "loss=10%").ways = []string{up, down, browser, websocket}
	short("5 % in bursts of 4", "loss=5%,burst=4")
	short("20 % in bursts of 4", "loss=20%,burst=4")
	short("25 % 10 ms late", "reorder=25%")
	r := short("another address every 5 s", "")
	for i := range 12 {
		r.at = append(r.at, event{time.Duration(i)*5*time.Second + 2*time.Second, "renumber"})
	}
	r = short("cut for 60 s", "")
	r.lasts, r.drain = 100*time.Second, time.Minute
	r.at = []event{{10 * time.Second, "down"}, {70 * time.Second, "up"}}
	r.sub = []string{"--reorder", "2m"} // the viewer would rather wait
	long("loss 0.1 %", "loss=0.1%")
	long("loss 10 %", "loss=10%")
	long("5 % in bursts of 4", "loss=5%,burst=4")
	r = short("10 Mbit/s beside a download", "rate=10M")
	r.neighbour, r.ways = true, []string{down}
	return list
}

// srtLatency is what SRT is given: four round trips, as its documentation advises, and 400 ms at least.
func (r row) srtLatency() time.Duration { return max(400*time.Millisecond, 4*r.rtt) }
