package torture

import (
	"every.channel/ec/lib/ts"
)

// second is one second of the generator's time, which runs at 27 MHz.
const second = 27_000_000

// kind says what a packet is for.
type kind uint8

const (
	kindNull kind = iota
	kindVideo
	kindAudio
	kindSparse // subtitles, teletext, splice information, data
	kindPCR    // a PCR PID of its own
	kindPAT
	kindPMT
	kindTime
	kindIdentity // SDT, VCT
	kindSI
	kindOther // of another program
)

// packet is one packet as it was broadcast.
type packet struct {
	data      ts.Packet
	at        int64 // when it was sent, 27 MHz
	kind      kind
	seg       int16 // which run of the clock it belongs to
	copy      bool  // second copy of the packet of this PID before
	announces bool  // without payload: the counter of the next packet of the PID jumps
	jump      bool  // its counter does not follow, and discontinuity_indicator says so
	pcr       bool
	unit      bool // its payload is part of a track
	scrambled bool
	later     bool  // of a table that does not apply yet
	whole     bool  // last packet of a whole table: of all sections
	local     int32 // index in its track
	change    bool  // first packet of a PAT or PMT that differs from the one before
	state     int16 // of PAT and PMT: which of the stream's states they say; of SDT and VCT: which title
}

// accessUnit is one as the generator knows it.
type accessUnit struct {
	at      int   // offset in the track's bytes
	rap     bool  // decoding can start here
	shown   int64 // presentation time, 27 MHz
	decoded int64 // decoding time
}

// track is what the generator sent on one elementary PID: payloads without copies, one after the other.
type track struct {
	pid    ts.PID
	kind   kind
	bytes  []byte
	starts []int32 // offset of each packet's payload
	index  []int32 // its index in the broadcast
	units  []int   // offsets of PES packets
	aus    []accessUnit
	byKey  map[uint64][]int32 // payload to local indexes; made when asked for
}

// Stream is a broadcast, with everything about it that the judge must know.
type Stream struct {
	spec     *Spec
	packets  []packet
	tracks   map[ts.PID]*track
	order    []*track
	cuts     []*track // access units that chunks start at are here
	states   []state
	titles   []title
	renamed  []span // by title: where it may count instead of the one before
	nameless []span // where no title tells the name
	program  uint16 // at the beginning
	pmtPID   ts.PID // likewise
	pcrPID   ts.PID // now
	patSecs  int    // packets of a whole PAT
	atsc     bool
	named    bool    // it has an identity of its own
	steps    []int64 // when the clock stepped
	longest  int64   // longest distance of random access points
	jitter   int64   // by how much time tables may disagree
	base     []int64 // clock at time 0, by run of the clock
	edges    []int64 // by run of the clock: how far its offset from UTC is from where its name changes
}
