// Package es is a stand-in until the real one lands.
package es

type Role uint8

const (
	Other Role = iota
	Video
	Audio
)

type Codec string

const Unknown Codec = "unknown"

func (c Codec) String() string { return string(c) }
func (c Codec) Role() Role {
	switch c {
	case "mpeg1video", "mpeg2video", "mpeg4video", "h264", "hevc", "vvc", "vc1":
		return Video
	case "mp2", "aac", "aac-latm", "ac3", "eac3", "ac4", "dts", "opus", "mpegh":
		return Audio
	}
	return Other
}

type Verdict uint8

const (
	Undecided Verdict = iota
	RandomAccess
	NotRandomAccess
)

type Finder struct {
	c    codec
	rai  bool
	es   []byte
	done Verdict
}

func (f *Finder) Begin(c Codec, rai bool) {
	f.rai, f.es, f.done = rai, f.es[:0], Undecided
	switch c {
	case "mpeg1video", "mpeg2video":
		f.c = codecMPEG2
	case "h264":
		f.c = codecH264
	case "hevc":
		f.c = codecHEVC
	default:
		f.c = codecOther
		if c.Role() == Audio {
			f.c = codecAudio
		}
	}
}
func (f *Finder) Feed(b []byte) Verdict {
	if f.done == Undecided {
		f.es = append(f.es, b...)
		f.done = Verdict(inspect(f.c, f.es, f.rai, false))
	}
	return f.done
}
func (f *Finder) End() Verdict {
	if f.done == Undecided {
		f.done = Verdict(inspect(f.c, f.es, f.rai, true))
	}
	return f.done
}
func (f *Finder) Name() string { return codecString(f.c, f.es) }

func (c Codec) Video() bool { return c.Role() == Video }
func (c Codec) Audio() bool { return c.Role() == Audio }
