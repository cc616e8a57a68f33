package home

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"every.channel/ec/lib/hdhr"
)

// Receiver is one use of a tuner: a multiplex, or one channel of it.
type Receiver struct {
	Base    string // of the device
	ID      string // of the device
	Address string // for ec-tune: "5.1" or "ch533000000"
	Hz      int64  // of the multiplex, 0: the device does not say
	Whole   bool   // the whole multiplex comes
	// Channels are those that are published from it.
	Channels []Channel
}

// Channel is a channel that is published.
type Channel struct {
	Number, Name string
	Program      int // in a whole multiplex; 0: the stream has only this one
}

// Missing is a channel that was asked for and that nobody receives.
type Missing struct{ Channel, Why string }

// key tells receivers apart.
func (r Receiver) key() string { return r.Base + " " + r.Address }

// planner decides which tuner receives which channels.
type planner struct {
	want      []string // numbers or names of a lineup, or "*"
	maxTuners int      // 0: no bound
	// single holds the multiplexes, as base and frequency, that a device does not give as a whole.
	single map[string]bool
}

func multiplex(base string, hz int64) string { return fmt.Sprint(base, " ", hz) }

// choice is a channel and the devices that have it.
type choice struct {
	number string
	on     []offer
}

type offer struct {
	device  *Device
	channel hdhr.Channel
}

// plan gives every channel that is wanted to a device. Those that come first get the tuners that there are. A channel stays with the device
// that has it in the plan before, as long as that device answers: a device that comes back takes nothing from another one.
func (p *planner) plan(devices []Device, before []Receiver) (receivers []Receiver, missing []Missing) {
	now := map[string]string{} // the device of each channel in the plan before
	for _, r := range before {
		for _, c := range r.Channels {
			now[c.Number] = r.Base
		}
	}
	used := map[string]int{} // tuners of each device
	choices, missing := p.choices(devices)
	for _, c := range choices {
		slices.SortStableFunc(c.on, func(a, b offer) int {
			rank := func(o offer) int {
				switch {
				case o.device.Gone:
					return 2
				case o.device.Base != now[c.number]:
					return 1
				}
				return 0
			}
			return cmp.Compare(rank(a), rank(b))
		})
		placed := false
		for _, o := range c.on {
			if placed = p.place(&receivers, used, o); placed {
				break
			}
		}
		if !placed {
			missing = append(missing, Missing{c.number, "channels before it have every tuner that may be used"})
		}
	}
	for i := range receivers { // one channel alone is cheaper than its multiplex
		if r := &receivers[i]; r.Whole && len(r.Channels) == 1 {
			r.Whole, r.Address, r.Channels[0].Program = false, r.Channels[0].Number, 0
		}
	}
	return receivers, missing
}

// choices finds the channels that are wanted in the lineups, in the order in which they are wanted.
func (p *planner) choices(devices []Device) (list []choice, missing []Missing) {
	seen := map[string]bool{}
	add := func(number string) {
		if seen[number] {
			return
		}
		seen[number] = true
		c := choice{number: number}
		for i := range devices {
			for _, ch := range devices[i].Channels {
				if _, protected := ch.Protected(); ch.Number == number && !protected {
					c.on = append(c.on, offer{&devices[i], ch})
					break
				}
			}
		}
		list = append(list, c)
	}
	for _, want := range p.want {
		found, why := false, "it is in no lineup"
		for _, is := range []func(hdhr.Channel) bool{
			func(c hdhr.Channel) bool { return want == "*" || c.Number == want },
			func(c hdhr.Channel) bool { return strings.EqualFold(c.Name, want) },
		} {
			if found {
				break
			}
			for _, d := range devices {
				for _, c := range d.Channels {
					if !is(c) {
						continue
					}
					if reason, protected := c.Protected(); protected {
						why = "it is " + reason
						continue
					}
					found = true
					add(c.Number)
				}
			}
		}
		if !found && want != "*" {
			missing = append(missing, Missing{want, why})
		}
	}
	return list, missing
}

// place gives a channel to a tuner of a device, and reports whether there was one.
func (p *planner) place(receivers *[]Receiver, used map[string]int, o offer) bool {
	d, ch := o.device, o.channel
	whole := ch.Frequency > 0 && ch.Program > 0 && !p.single[multiplex(d.Base, ch.Frequency)]
	c := Channel{Number: ch.Number, Name: ch.Name}
	if whole {
		c.Program = ch.Program
		i := slices.IndexFunc(*receivers, func(r Receiver) bool { return r.Whole && r.Base == d.Base && r.Hz == ch.Frequency })
		if i >= 0 {
			(*receivers)[i].Channels = append((*receivers)[i].Channels, c)
			return true
		}
	}
	if d.Tuners > 0 && used[d.Base] >= d.Tuners || p.maxTuners > 0 && len(*receivers) >= p.maxTuners {
		return false
	}
	used[d.Base]++
	r := Receiver{Base: d.Base, ID: d.ID, Address: ch.Number, Hz: ch.Frequency, Whole: whole, Channels: []Channel{c}}
	if whole {
		r.Address = fmt.Sprintf("ch%d", ch.Frequency)
	}
	*receivers = append(*receivers, r)
	return true
}
