package sim

import (
	"fmt"
	"strings"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// Class is a set of kinds of packets.
type Class uint8

const (
	Video Class = 1 << iota
	Audio       // and other elementary streams
	PCR         // packets with a clock, whatever their PID
	PSI         // PAT, CAT and PMT
	SI          // PSIP and SI, time tables too
	Null
	Unknown // PIDs that no PAT or PMT has named yet

	AllClasses Class = 0 // every packet
)

var classNames = [...]string{"video", "audio", "pcr", "psi", "si", "null", "unknown"}

// ParseClass reads names joined by commas: video, audio, pcr, psi, si, null, unknown, or all.
func ParseClass(s string) (Class, error) {
	var c Class
next:
	for name := range strings.SplitSeq(s, ",") {
		if name == "all" {
			return AllClasses, nil
		}
		for i, n := range classNames {
			if n == name {
				c |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("class %q: want all or some of %s", name, strings.Join(classNames[:], ","))
	}
	return c, nil
}

func (c Class) String() string {
	if c == AllClasses {
		return "all"
	}
	var names []string
	for i, n := range classNames {
		if c&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

// classifier learns from PAT, PMT and MGT what a PID carries.
type classifier struct {
	class  [ts.NumPIDs]Class
	pmt    [ts.NumPIDs]bool
	tables map[ts.PID]*psi.Assembler // PIDs whose sections it reads
}

func newClassifier() *classifier {
	c := &classifier{tables: map[ts.PID]*psi.Assembler{ts.PIDPAT: {}, ts.PIDPSIP: {}}}
	for i := range c.class {
		c.class[i] = Unknown
	}
	c.class[ts.PIDPAT], c.class[ts.PIDCAT], c.class[ts.PIDNull] = PSI, PSI, Null
	for pid := ts.PIDNIT; pid < 0x20; pid++ { // EN 300 468 table 1, all of it SI
		c.class[pid] = SI
	}
	c.class[ts.PIDPSIP] = SI
	return c
}

// of is what p carries.
func (c *classifier) of(p *ts.Packet) Class {
	pid := p.PID()
	class := c.class[pid]
	if class&(PSI|SI) != 0 {
		if a := c.tables[pid]; a != nil {
			a.Feed(p, c.learn)
		}
	}
	if _, ok := p.PCR(); ok {
		class |= PCR
	}
	return class
}

func (c *classifier) learn(section []byte) {
	switch section[0] {
	case psi.TablePAT:
		t, err := psi.ParsePAT(section)
		if err != nil {
			return
		}
		for _, p := range t.Programs {
			c.pmt[p.PID], c.class[p.PID] = true, PSI
			if c.tables[p.PID] == nil {
				c.tables[p.PID] = &psi.Assembler{}
			}
		}
	case psi.TablePMT:
		t, err := psi.ParsePMT(section)
		if err != nil {
			return
		}
		for _, e := range t.Streams {
			c.class[e.PID] = Audio
			if t.Codec(e).Video() {
				c.class[e.PID] = Video
			}
		}
	case psi.TableMGT:
		t, err := psi.ParseMGT(section)
		if err != nil {
			return
		}
		for _, e := range t.Tables {
			c.class[e.PID] = SI
		}
	}
}
