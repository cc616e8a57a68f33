package hdhr

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
)

// DeviceType is a kind of device in discovery (hdhomerun_pkt.h).
type DeviceType uint32

// The device types (hdhomerun_pkt.h).
const (
	TypeTuner   DeviceType = 1
	TypeStorage DeviceType = 5
	TypeAny     DeviceType = 0xffffffff
)

// DiscoverRequest is the payload of a discovery request.
type DiscoverRequest struct {
	Types []DeviceType // empty: any type
	ID    DeviceID     // 0 or AnyDevice: any device
}

// Append appends the whole packet to b.
func (r DiscoverRequest) Append(b []byte) []byte {
	var p []byte
	switch len(r.Types) {
	case 0:
		p = appendTLV32(p, TagDeviceType, uint32(TypeAny))
	case 1:
		p = appendTLV32(p, TagDeviceType, uint32(r.Types[0]))
	default:
		p = appendTL(p, TagMultiType, 4*len(r.Types))
		for _, t := range r.Types {
			p = binary.BigEndian.AppendUint32(p, uint32(t))
		}
	}
	// Old firmware answers only when the id is there; new clients leave it out for any device and
	// new firmware takes both, so it is always sent.
	id := r.ID
	if id == 0 {
		id = AnyDevice
	}
	p = appendTLV32(p, TagDeviceID, uint32(id))
	return Packet{TypeDiscoverRequest, p}.Append(b)
}

// ParseDiscoverRequest reads the payload of a discovery request.
func ParseDiscoverRequest(p []byte) DiscoverRequest {
	r := DiscoverRequest{ID: AnyDevice}
	for t, v, rest, ok := nextTLV(p); ok; t, v, rest, ok = nextTLV(rest) {
		switch t {
		case TagDeviceType, TagMultiType:
			r.Types = appendTypes(r.Types, v)
		case TagDeviceID:
			if len(v) == 4 {
				r.ID = DeviceID(binary.BigEndian.Uint32(v))
			}
		}
	}
	return r
}

// Matches reports whether a device of this id and type is meant.
func (r DiscoverRequest) Matches(id DeviceID, t DeviceType) bool {
	if r.ID != 0 && r.ID != AnyDevice && r.ID != id {
		return false
	}
	return len(r.Types) == 0 || slices.Contains(r.Types, TypeAny) || slices.Contains(r.Types, t)
}

// DiscoverReply is the payload of a discovery reply.
type DiscoverReply struct {
	Types      []DeviceType
	ID         DeviceID
	Tuners     int
	BaseURL    string
	LineupURL  string
	StorageURL string
	StorageID  string
	DeviceAuth string
}

// Append appends the whole packet to b. Strings that would not fit a packet are cut.
func (r DiscoverReply) Append(b []byte) []byte {
	var p []byte
	if len(r.Types) > 0 {
		// Old clients know only one type per reply; the rest follow in their own tag.
		p = appendTLV32(p, TagDeviceType, uint32(r.Types[0]))
	}
	p = appendTLV32(p, TagDeviceID, uint32(r.ID))
	if len(r.Types) > 1 {
		p = appendTL(p, TagMultiType, 4*len(r.Types))
		for _, t := range r.Types {
			p = binary.BigEndian.AppendUint32(p, uint32(t))
		}
	}
	if r.Tuners > 0 {
		p = appendTLV(p, TagTunerCount, []byte{byte(min(r.Tuners, 255))})
	}
	for _, s := range []struct {
		tag Tag
		v   string
	}{
		{TagDeviceAuth, r.DeviceAuth}, {TagBaseURL, r.BaseURL}, {TagLineupURL, r.LineupURL},
		{TagStorageID, r.StorageID}, {TagStorageURL, r.StorageURL},
	} {
		if s.v != "" && len(p)+3+len(s.v) <= maxPayload {
			p = appendTLVString(p, s.tag, s.v)
		}
	}
	return Packet{TypeDiscoverReply, p}.Append(b)
}

// ParseDiscoverReply reads the payload of a discovery reply. Unknown tags are skipped.
func ParseDiscoverReply(p []byte) DiscoverReply {
	var r DiscoverReply
	for t, v, rest, ok := nextTLV(p); ok; t, v, rest, ok = nextTLV(rest) {
		switch t {
		case TagDeviceType, TagMultiType:
			r.Types = appendTypes(r.Types, v)
		case TagDeviceID:
			if len(v) == 4 {
				r.ID = DeviceID(binary.BigEndian.Uint32(v))
			}
		case TagTunerCount:
			if len(v) == 1 {
				r.Tuners = int(v[0])
			}
		case TagDeviceAuth:
			r.DeviceAuth = cString(v)
		case TagDeviceAuthB:
			// 18 bytes become 24 characters; the vendor's alphabet ends in "-_".
			if len(v) == 18 && r.DeviceAuth == "" {
				r.DeviceAuth = base64.URLEncoding.EncodeToString(v)
			}
		case TagBaseURL:
			r.BaseURL = cString(v)
		case TagLineupURL:
			r.LineupURL = cString(v)
		case TagStorageURL:
			r.StorageURL = cString(v)
		case TagStorageID:
			r.StorageID = cString(v)
		}
	}
	return r
}

func appendTypes(types []DeviceType, v []byte) []DeviceType {
	for ; len(v) >= 4; v = v[4:] {
		t := DeviceType(binary.BigEndian.Uint32(v))
		if t != 0 && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// cString is v up to its first NUL, if it has one: a peer's terminator is not to be relied on.
func cString(v []byte) string {
	s, _, _ := strings.Cut(string(v), "\x00")
	return s
}
