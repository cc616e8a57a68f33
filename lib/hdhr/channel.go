package hdhr

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Channel is one entry of a lineup.
type Channel struct {
	Number     string // virtual channel, "5.1"
	Name       string
	URL        string // of the stream; a Backend leaves it empty, the Device fills it in
	HD         bool
	Favorite   bool
	DRM        bool
	VideoCodec string // "MPEG2", "H264", "HEVC"
	AudioCodec string // "AC3", "AAC", "AC4"
	ATSC3      bool

	// With ?tuning only.
	Frequency  int64  // Hz, 0: not given
	Modulation string // "8vsb", "qam256", "t8qam64", "auto"
	TSID       int    // -1: not given; 0 is a valid transport stream id
	ONID       int    // -1: not given; DVB original network id
	Program    int    // MPEG program number, 0: not given
	PLP        string // ATSC 3.0 PLPConfig

	SignalStrength int // percent, 0: not given
	SignalQuality  int // percent, 0: not given

	// Unknown holds the fields that this package has no name for, as they came.
	Unknown map[string]json.RawMessage
}

// Protected reports whether the stream of the channel can not be used by anyone but the vendor's
// own applications, and why.
func (c Channel) Protected() (reason string, protected bool) {
	switch {
	case c.DRM:
		return "copy protected (DRM)", true
	case strings.EqualFold(c.AudioCodec, "AC4"), strings.EqualFold(c.AudioCodec, "AC-4"):
		return "ATSC 3.0 with AC-4 audio", true
	case c.ATSC3:
		return "an ATSC 3.0 broadcast", true
	}
	return "", false
}

// UnmarshalJSON reads an entry of lineup.json leniently: numbers and flags may be strings, unknown
// fields are kept, and a known field of an unexpected kind is kept as unknown.
func (c *Channel) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return fmt.Errorf("lineup entry: %w", err)
	}
	*c = Channel{TSID: -1, ONID: -1}
	for name, raw := range fields {
		if !c.set(name, raw) {
			if c.Unknown == nil {
				c.Unknown = map[string]json.RawMessage{}
			}
			c.Unknown[name] = raw
		}
	}
	return nil
}

func (c *Channel) set(name string, raw json.RawMessage) bool {
	switch name {
	case "GuideNumber":
		return lenientString(raw, &c.Number)
	case "GuideName":
		return lenientString(raw, &c.Name)
	case "URL":
		return lenientString(raw, &c.URL)
	case "HD":
		return lenientBool(raw, &c.HD)
	case "Favorite":
		return lenientBool(raw, &c.Favorite)
	case "DRM":
		return lenientBool(raw, &c.DRM)
	case "VideoCodec":
		return lenientString(raw, &c.VideoCodec)
	case "AudioCodec":
		return lenientString(raw, &c.AudioCodec)
	case "ATSC3":
		return lenientBool(raw, &c.ATSC3)
	case "Frequency":
		return lenientInt(raw, &c.Frequency)
	case "Modulation":
		return lenientString(raw, &c.Modulation)
	case "TransportStreamID":
		return lenientInt(raw, &c.TSID)
	case "OriginalNetworkID":
		return lenientInt(raw, &c.ONID)
	case "ProgramNumber":
		return lenientInt(raw, &c.Program)
	case "PLPConfig":
		return lenientString(raw, &c.PLP)
	case "SignalStrength":
		return lenientInt(raw, &c.SignalStrength)
	case "SignalQuality":
		return lenientInt(raw, &c.SignalQuality)
	}
	return false
}

// MarshalJSON writes the vendor's form, with the ?tuning fields that are known.
func (c Channel) MarshalJSON() ([]byte, error) { return json.Marshal(c.fields(true)) }

// fields are the JSON fields of a lineup entry.
func (c Channel) fields(tuning bool) map[string]any {
	m := map[string]any{"GuideNumber": c.Number, "GuideName": c.Name, "URL": c.URL}
	for name, raw := range c.Unknown {
		m[name] = raw
	}
	for name, on := range map[string]bool{"HD": c.HD, "Favorite": c.Favorite, "DRM": c.DRM, "ATSC3": c.ATSC3} {
		if on {
			m[name] = 1
		}
	}
	for name, s := range map[string]string{"VideoCodec": c.VideoCodec, "AudioCodec": c.AudioCodec} {
		if s != "" {
			m[name] = s
		}
	}
	for name, n := range map[string]int{"SignalStrength": c.SignalStrength, "SignalQuality": c.SignalQuality} {
		if n > 0 {
			m[name] = n
		}
	}
	if !tuning {
		return m
	}
	if c.Frequency > 0 {
		m["Frequency"] = c.Frequency
	}
	if c.Modulation != "" {
		m["Modulation"] = c.Modulation
	}
	if c.Program > 0 {
		m["ProgramNumber"] = c.Program
		if c.TSID >= 0 {
			m["TransportStreamID"] = c.TSID
		}
		if c.ONID > 0 {
			m["OriginalNetworkID"] = c.ONID
		}
	}
	if c.PLP != "" {
		m["PLPConfig"] = c.PLP
	}
	return m
}

// ParseLineup reads a lineup.json. An entry that can not be read is skipped and counted.
func ParseLineup(b []byte) (channels []Channel, skipped int, err error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, 0, fmt.Errorf("lineup: %w", err)
	}
	for _, raw := range entries {
		var c Channel
		if err := json.Unmarshal(raw, &c); err != nil || c.Number == "" && c.URL == "" {
			skipped++
			continue
		}
		channels = append(channels, c)
	}
	return channels, skipped, nil
}

// lenientString takes a string or a number.
func lenientString(raw json.RawMessage, s *string) bool {
	if json.Unmarshal(raw, s) == nil {
		return true
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		*s = n.String()
		return true
	}
	return false
}

// lenientBool takes true, 1 and "1".
func lenientBool(raw json.RawMessage, v *bool) bool {
	if json.Unmarshal(raw, v) == nil {
		return true
	}
	var n int64
	if !lenientInt(raw, &n) {
		return false
	}
	*v = n != 0
	return true
}

// lenientInt takes a number, also in a string, also with 0x.
func lenientInt[T int | int64](raw json.RawMessage, v *T) bool {
	s := strings.Trim(strings.TrimSpace(string(raw)), `"`)
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f != f || f < -1<<53 || f > 1<<53 {
			return false
		}
		n = int64(f)
	}
	if int64(T(n)) != n {
		return false
	}
	*v = T(n)
	return true
}
