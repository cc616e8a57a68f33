// Package netlab is a bad network between two network namespaces, for tests and measurements only: packets that a TUN device in one
// namespace gives out are lost, delayed, brought out of order or held in a queue, and go into the TUN device of the other one. What
// happens to which packet is chance from a seed. It is no part of any tool; scripts/netlab makes the namespaces and runs a command in them.
package netlab

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Params are the properties of one direction of a link. The zero value is a link that does nothing to a packet.
type Params struct {
	Loss    float64       // share of packets that are lost
	Burst   int           // how many packets in succession are lost together; 0 is 1
	Delay   time.Duration // of every packet
	Jitter  time.Duration // each packet is delayed by up to this much more; the order stays
	Reorder float64       // share of packets that are delayed by reorderBy more, so others overtake them
	Rate    int64         // bit/s of IP packets; 0: no bound
	Queue   time.Duration // how long the queue before Rate may be; what does not fit is lost. 0 is 50 ms
	Down    bool          // nothing passes
}

const (
	reorderBy    = 10 * time.Millisecond
	defaultQueue = 50 * time.Millisecond
)

// Help describes the form that Set reads.
const Help = `loss=1%,burst=4,delay=20ms,jitter=5ms,reorder=25%,rate=20M,queue=100ms, down or up`

// Set changes what a text names, such as "loss=1%,delay=20ms"; "clear" resets everything.
func (p *Params) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		key, value, has := strings.Cut(part, "=")
		var err error
		switch {
		case key == "clear" && !has:
			*p = Params{}
		case key == "down" && !has:
			p.Down = true
		case key == "up" && !has:
			p.Down = false
		case key == "loss":
			p.Loss, err = share(value)
		case key == "reorder":
			p.Reorder, err = share(value)
		case key == "burst":
			p.Burst, err = strconv.Atoi(value)
		case key == "delay":
			p.Delay, err = time.ParseDuration(value)
		case key == "jitter":
			p.Jitter, err = time.ParseDuration(value)
		case key == "queue":
			p.Queue, err = time.ParseDuration(value)
		case key == "rate":
			p.Rate, err = rate(value)
		default:
			return fmt.Errorf("link: %q is none of %s", part, Help)
		}
		if err != nil {
			return fmt.Errorf("link: %q: %w", part, err)
		}
	}
	if p.Burst < 0 || p.Delay < 0 || p.Jitter < 0 || p.Queue < 0 {
		return fmt.Errorf("link: %q has a number below 0", text)
	}
	return nil
}

// share reads 1% or 0.01.
func share(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err == nil && !(f >= 0 && f <= 1) {
		err = fmt.Errorf("want 0%% to 100%%")
	}
	return f, err
}

// rate reads bit/s: 800k, 20M, 1G.
func rate(s string) (int64, error) {
	factor := 1.0
	if n := len(s); n > 0 {
		if f, ok := map[byte]float64{'k': 1e3, 'M': 1e6, 'G': 1e9}[s[n-1]]; ok {
			factor, s = f, s[:n-1]
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && !(f >= 0 && f*factor < 1e12) {
		err = fmt.Errorf("want 0 to 1000G")
	}
	return int64(f * factor), err
}
