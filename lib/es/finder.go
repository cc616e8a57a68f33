package es

import "bytes"

// A Verdict says whether a PES packet is a place where decoding can start.
type Verdict uint8

// Verdicts.
const (
	Undecided Verdict = iota // more of its bytes are needed
	RandomAccess
	NotRandomAccess
)

func (v Verdict) String() string {
	switch v {
	case RandomAccess:
		return "random access point"
	case NotRandomAccess:
		return "no random access point"
	}
	return "undecided"
}

// Finder looks for random access points in the PES packets of one stream.
//
// A PES packet is a random access point if an access unit at which decoding can start commences in it
// (docs/format/codecs.md). The verdict depends on the codec, on random_access_indicator and on the bytes alone, not on
// how they are split, nor on what came before Begin, so receivers that joined at different times agree. The elementary stream
// overrules random_access_indicator wherever it can be read, because real multiplexers set that on every frame.
//
// The zero value is ready for Begin. It keeps nothing of what it is fed but a few bytes, and allocates nothing.
type Finder struct {
	codec   Codec
	flag    bool // random_access_indicator
	verdict Verdict
	state   state
	zeros   uint8 // bytes of zero just before the next byte, up to 2
	aligned bool  // the payload begins with the start code of an access unit
	several bool  // there may be more access units behind the first
	seen    bool  // pictures of the codec were read
	open    bool  // an access unit has commenced, and its first slice has not come
	marks   uint8 // what came in it: markSequence and so on
	torn    bool  // at the end one was open
	split   bool  // it ended with zeros, or before it was clear what a unit is
	cut     bool  // the start code of the first unit may stand in the PES packet before
	rest    bool  // the first slice is of an access unit that commenced in the PES packet before
	n, want uint8 // bytes in head; how many are wanted
	head    [headSize]byte
	sei     sei

	nparams uint8
	params  [paramSize]byte // what names the stream; a reader stores it, Name writes it out
}

const (
	headSize  = 32
	paramSize = 12
)

// A state says what the next byte is.
type state uint8

const (
	atStart state = iota // nothing but zeros so far
	inUnit               // of something that nobody looks at
	inHead               // among the bytes that a reader wants to see
	inSEI                // of supplemental enhancement information
)

// What a reader may want besides a number of bytes.
const (
	readOn  = 0  // nothing more of this unit
	readSEI = -1 // what follows is SEI messages
)

// What an access unit may hold before its first slice.
const (
	markSequence = 1 << iota // sequence header, sequence parameter set
	markEntry                // entry point
	markStill                // a sequence of still pictures
)

// Begin says that a PES packet with a PTS begins. randomAccess is the random_access_indicator of its first TS packet.
func (f *Finder) Begin(c Codec, randomAccess bool) {
	*f = Finder{codec: c.known(), flag: randomAccess}
	switch codecs[f.codec].how {
	case byFlag:
		f.decideByFlag()
	case byPacket:
		f.verdict = RandomAccess
	case byHead:
		f.state, f.want = inHead, 1
	}
}

// Several says, after Begin, that the PES packet may hold several access units though it begins with one: all of it is looked at.
// It is for packets without data_alignment_indicator, H.222.0 §2.4.3.7, which begin with an access unit by chance. With it looking ends at
// the first slice: broadcasters send one access unit in each PES packet then (A/53 part 4).
func (f *Finder) Several() { f.several = true }

// Torn reports, after Several and End, that an access unit has commenced and its first slice has not come. The next PES packet of the stream
// goes on with it: then Rest is to be called after Begin.
func (f *Finder) Torn() bool { return f.torn }

// Split reports, after Several and End, whether a start code, or what it says, may go on in the next PES packet of the stream. Then Cut is to
// be called after Begin.
func (f *Finder) Split() bool { return f.split }

// Cut says, after Begin, that the first unit's start code may be cut off. If the packet does not begin with one, it is taken for the rest
// of an access unit.
func (f *Finder) Cut() { f.cut = true }

// Rest says, after Begin, that the PES packet begins with the rest of an access unit, whose random access point it is not. That ends with its
// first slice, or where a unit comes with which access units begin only.
func (f *Finder) Rest() { f.rest = true }

// Feed takes the next bytes of its payload, after the PES header. PES packets without a PTS go on with what the one before
// has begun, so their payload is to be fed too. After a decision further bytes change nothing but, after Several, Torn and Zeros.
func (f *Finder) Feed(b []byte) Verdict {
	if !f.looks() {
		return f.verdict
	}
	switch codecs[f.codec].how {
	case byHead:
		for len(b) > 0 && f.verdict == Undecided {
			n := copy(f.head[f.n:f.want], b)
			f.n, b = f.n+uint8(n), b[n:]
			if f.n == f.want {
				f.readHead(false)
			}
		}
	case byStartCode:
		f.feed(b)
	default: // Begin was not called
		f.decideByFlag()
	}
	return f.verdict
}

// End says that no more bytes of the PES packet will come, and decides.
func (f *Finder) End() Verdict {
	if !f.looks() {
		return f.verdict
	}
	f.split = f.several && (f.zeros > 0 || f.state == inHead)
	if codecs[f.codec].how == byHead || f.state == inHead {
		f.readHead(true)
	}
	f.torn = f.several && f.open
	switch {
	case f.verdict != Undecided:
	case f.seen && !f.open:
		f.verdict = NotRandomAccess
	default: // what commenced does not show what it is
		f.decideByFlag()
	}
	return f.verdict
}

// looks reports whether bytes still matter: for the verdict or, where access units may be torn, for the next PES packet.
func (f *Finder) looks() bool {
	return f.verdict == Undecided || f.several && codecs[f.codec].how == byStartCode
}

func (f *Finder) decideByFlag() {
	f.verdict = NotRandomAccess
	if f.flag {
		f.verdict = RandomAccess
	}
}

// feed goes through units that begin with the start code prefix 00 00 01.
func (f *Finder) feed(b []byte) {
	for len(b) > 0 && f.looks() {
		if f.state == inUnit {
			i := f.nextStartCode(b)
			if i < 0 {
				return
			}
			b = b[i:]
			f.startUnit()
			continue
		}
		c, prefix := b[0], f.zeros == 2
		if f.state == atStart && c != 0 && !(c == 1 && prefix) {
			f.state, f.rest = inUnit, f.rest || f.cut
			continue
		}
		b = b[1:]
		if c == 0 {
			f.zeros = min(f.zeros+1, 2)
		} else {
			f.zeros = 0
		}
		switch {
		case c == 1 && prefix:
			switch f.state {
			case atStart:
				f.aligned = true
			case inHead:
				for f.n > 0 && f.head[f.n-1] == 0 { // they belong to the start code that follows
					f.n--
				}
				f.readHead(true)
			}
			if f.looks() {
				f.startUnit()
			}
		case f.state == inHead:
			f.head[f.n] = c
			f.n++
			if f.n == f.want {
				f.readHead(false)
			}
		case f.state == inSEI && !(c == 3 && prefix): // emulation_prevention_three_byte, H.264 §7.3.1
			if f.sei.next(c) && !f.rest {
				f.verdict = RandomAccess
			}
		}
	}
}

func (f *Finder) startUnit() { f.state, f.n, f.want, f.zeros = inHead, 0, 1, 0 }

// readHead lets the codec's reader look at what has been kept.
func (f *Finder) readHead(whole bool) {
	c := &codecs[f.codec]
	if f.n == 0 && c.how == byStartCode {
		f.state = inUnit
		return
	}
	want := c.read(f, f.head[:f.n], whole)
	switch {
	case want == readSEI:
		f.state, f.sei = inSEI, sei{}
	case want > int(f.n) && !whole:
		f.want = uint8(min(want, headSize))
		return
	default:
		f.state = inUnit
	}
	if !f.open {
		f.aligned = false // it began with what belongs to an access unit before
	}
}

// nextStartCode returns the index after the first start code prefix that ends in b, or -1. It looks for 01, which a
// run of zeros does not hold.
func (f *Finder) nextStartCode(b []byte) int {
	for i := 0; ; i++ {
		j := bytes.IndexByte(b[i:], 1)
		if j < 0 {
			break
		}
		i += j
		switch {
		case i >= 2:
			if b[i-1] == 0 && b[i-2] == 0 {
				return i + 1
			}
		case i == 1:
			if b[0] == 0 && f.zeros > 0 {
				return i + 1
			}
		default:
			if f.zeros == 2 {
				return i + 1
			}
		}
	}
	switch n := len(b); {
	case b[n-1] != 0:
		f.zeros = 0
	case n > 1 && b[n-2] != 0:
		f.zeros = 1
	case n > 1:
		f.zeros = 2
	default:
		f.zeros = min(f.zeros+1, 2)
	}
	return -1
}

// commence says that a unit stands before the first slice of an access unit.
func (f *Finder) commence() {
	if !f.open {
		f.open, f.marks = true, 0
	}
}

// picture says that the first slice of an access unit has come, and whether decoding can start there.
func (f *Finder) picture(point bool) int {
	f.open, f.seen = false, true
	switch {
	case f.rest:
		f.rest = false
	case point:
		f.verdict = RandomAccess
	case f.aligned && !f.several:
		f.verdict = NotRandomAccess
	}
	return readOn
}

// delimit says that a unit stands at the very beginning of an access unit.
func (f *Finder) delimit() {
	f.open, f.marks, f.rest = true, 0, false
}

// within says that a slice goes on with a picture that commenced before.
func (f *Finder) within() int {
	f.seen = true
	return readOn
}

// name keeps the bytes that name the stream, the first time.
func (f *Finder) name(b ...byte) {
	if f.nparams == 0 {
		f.nparams = uint8(copy(f.params[:], b))
	}
}
