package sim

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/hdhr"
)

// Backend is the antenna of an HDHomeRun device: hdhr.Device serves what it receives.
type Backend struct {
	Broadcast *Broadcast // default: none
	Files     []FileChannel
	// Impair happens to each stream; the n-th that is tuned gets Seed + n.
	Impair Impair
	// Delay is how late everything arrives, default 0.
	Delay time.Duration
	// FullMux gives the whole multiplex where a channel is asked for.
	FullMux bool
	// Now is the clock, default time.Now.
	Now func() time.Time

	tuned atomic.Uint64
}

// FileChannel is a file in the lineup.
type FileChannel struct {
	Number string
	*File
}

// fileFrequency is where the first file is broadcast; the others follow channel by channel.
const fileFrequency, channelWidth = 599_000_000, 6_000_000

// Lineup implements hdhr.Backend.
func (b *Backend) Lineup() []hdhr.Channel {
	var all []hdhr.Channel
	for _, m := range b.muxes() {
		codec := func(string) string { return "" }
		if p, err := m.built(); err == nil {
			m, codec = p.mux, p.codec // as its habits make it
		}
		for _, s := range m.Services {
			c := hdhr.Channel{
				Number: s.Number, Name: s.Name, HD: strings.Contains(s.Video, "h264"), DRM: s.DRM,
				VideoCodec: codecNames[codec(s.Video)], AudioCodec: codecNames[codec(s.Audio)],
				Frequency: m.Frequency, Modulation: m.Modulation, TSID: int(m.TSID), ONID: -1, Program: int(s.Program),
				SignalStrength: strength, SignalQuality: quality,
			}
			if m.Standard == DVB {
				c.ONID = int(m.ONID)
			}
			all = append(all, c)
		}
	}
	for i, f := range b.Files {
		all = append(all, hdhr.Channel{
			Number: f.Number, Name: "file", Frequency: fileFrequency + int64(i)*channelWidth, Modulation: "8vsb",
			TSID: -1, ONID: -1, SignalStrength: strength, SignalQuality: quality,
		})
	}
	return all
}

// codecNames are the names that devices give.
var codecNames = map[string]string{"mpeg2video": "MPEG2", "h264": "H264", "ac3": "AC3", "aac": "AAC", "mp2": "MPEG"}

func (b *Backend) muxes() []*Mux {
	if b.Broadcast == nil {
		return nil
	}
	return b.Broadcast.All()
}

// Tune implements hdhr.Backend. It refuses with the codes of a device: 811 a protected channel, 807 one
// that sends nothing, 806 a frequency where nothing is.
func (b *Backend) Tune(ctx context.Context, s hdhr.Selection) (io.ReadCloser, error) {
	feed, err := b.feed(s)
	if err != nil {
		return nil, err
	}
	seed := b.tuned.Add(1) - 1
	im := b.Impair
	im.Seed += seed
	r := Live(ctx, feed, b.now)
	return &tuned{im.Reader(r), r}, nil
}

// tuned is a stream behind its impairments.
type tuned struct {
	io.Reader
	io.Closer
}

func (b *Backend) now() time.Time {
	now := time.Now
	if b.Now != nil {
		now = b.Now
	}
	return now().Add(-b.Delay)
}

// feed is what is received at a frequency.
func (b *Backend) feed(s hdhr.Selection) (Feed, error) {
	now := b.now()
	for i, f := range b.Files {
		if s.Frequency == fileFrequency+int64(i)*channelWidth {
			return f.Reader(now, time.Time{}), nil
		}
	}
	i := slices.IndexFunc(b.muxes(), func(m *Mux) bool { return m.Frequency == s.Frequency })
	if i < 0 {
		return nil, hdhr.CodeTuneFailed
	}
	m := b.muxes()[i]
	if err := m.Validate(); err != nil {
		return nil, err
	}
	program := uint16(s.Program)
	if s.Program != 0 {
		j := slices.IndexFunc(m.Services, func(v Service) bool { return int(v.Program) == s.Program })
		switch {
		case j < 0:
			return nil, fmt.Errorf("program %d: %w", s.Program, hdhr.CodeNoVideoData)
		case m.Services[j].DRM:
			return nil, hdhr.CodeContentProtection
		case m.Services[j].Dead:
			return nil, hdhr.CodeNoVideoData
		}
	}
	if b.FullMux {
		program = 0
	}
	return m.Reader(now, time.Time{}, program), nil
}

// What a good antenna gives, in percent.
const strength, quality = 94, 97

// Signal implements hdhr.Backend.
func (b *Backend) Signal(frequency int64) hdhr.Signal {
	s := hdhr.Signal{Strength: strength, Quality: quality, SymbolQuality: 100}
	if b.Impair.Loss > 0 || b.Impair.TEI > 0 || b.Impair.Flip > 0 {
		s.Quality, s.SymbolQuality = 60, int(100*(1-max(b.Impair.Loss, b.Impair.TEI, b.Impair.Flip)))
		s.SymbolQuality = min(s.SymbolQuality, 99)
	}
	for _, m := range b.muxes() {
		if m.Frequency == frequency {
			s.Lock = m.Modulation
			return s
		}
	}
	for i := range b.Files {
		if frequency == fileFrequency+int64(i)*channelWidth {
			s.Lock = "8vsb"
			return s
		}
	}
	return hdhr.Signal{Lock: "none"}
}
