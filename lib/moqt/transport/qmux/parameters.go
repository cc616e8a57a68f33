package qmux

import (
	"slices"

	"github.com/quic-go/quic-go/quicvarint"
)

// Transport parameters (RFC 9000 §18.2, RFC 9221 §3, and §5 of the draft).
const (
	paramMaxIdleTimeout       = 0x01
	paramMaxData              = 0x04
	paramMaxStreamDataLocal   = 0x05
	paramMaxStreamDataRemote  = 0x06
	paramMaxStreamDataUni     = 0x07
	paramMaxStreamsBidi       = 0x08
	paramMaxStreamsUni        = 0x09
	paramMaxDatagramFrameSize = 0x20
	paramMaxRecordSize        = 0x0571c59429cd0845
	// paramProtocols is moq-dev's: the application protocols of a transport without ALPN, each with its length before it,
	// most preferred first. The first one of the server's that the client has too is spoken.
	paramProtocols = 0x3d4f9c2a8b1e6075
)

// defaultMaxRecordSize is also the smallest that may be announced (§5.2).
const defaultMaxRecordSize = 16382

// maxProtocols bounds the application protocols read from a peer.
const maxProtocols = 64

// parameters are the transport parameters of one side.
type parameters struct {
	maxIdleTimeout       uint64 // ms, 0 for none
	maxData              uint64
	maxStreamDataLocal   uint64 // bidirectional streams the sender of the parameters opens
	maxStreamDataRemote  uint64 // bidirectional streams its peer opens
	maxStreamDataUni     uint64
	maxStreamsBidi       uint64
	maxStreamsUni        uint64
	maxDatagramFrameSize uint64
	maxRecordSize        uint64
	protocols            []string
}

// number returns where a parameter of one varint goes.
func (p *parameters) number(id uint64) *uint64 {
	switch id {
	case paramMaxIdleTimeout:
		return &p.maxIdleTimeout
	case paramMaxData:
		return &p.maxData
	case paramMaxStreamDataLocal:
		return &p.maxStreamDataLocal
	case paramMaxStreamDataRemote:
		return &p.maxStreamDataRemote
	case paramMaxStreamDataUni:
		return &p.maxStreamDataUni
	case paramMaxStreamsBidi:
		return &p.maxStreamsBidi
	case paramMaxStreamsUni:
		return &p.maxStreamsUni
	case paramMaxDatagramFrameSize:
		return &p.maxDatagramFrameSize
	case paramMaxRecordSize:
		return &p.maxRecordSize
	}
	return nil
}

var numberParams = []uint64{
	paramMaxIdleTimeout, paramMaxData, paramMaxStreamDataLocal, paramMaxStreamDataRemote, paramMaxStreamDataUni,
	paramMaxStreamsBidi, paramMaxStreamsUni, paramMaxDatagramFrameSize, paramMaxRecordSize,
}

// append adds a QX_TRANSPORT_PARAMETERS frame (§4.2).
func (p *parameters) append(b []byte) []byte {
	var v []byte
	for _, id := range numberParams {
		if n := *p.number(id); n != 0 {
			v = appendVarints(v, id, uint64(quicvarint.Len(n)), n)
		}
	}
	if len(p.protocols) > 0 {
		var list []byte
		for _, name := range p.protocols {
			list = append(quicvarint.Append(list, uint64(len(name))), name...)
		}
		v = append(appendVarints(v, paramProtocols, uint64(len(list))), list...)
	}
	return append(appendVarints(b, frameParameters, uint64(len(v))), v...)
}

// parseParameters reads the payload of a QX_TRANSPORT_PARAMETERS frame. Every error is a *TransportError.
func parseParameters(b []byte) (parameters, error) {
	p := parameters{maxRecordSize: defaultMaxRecordSize}
	bad := func(format string, args ...any) (parameters, error) {
		return parameters{}, broken(TransportParameterError, format, args...)
	}
	var seen []uint64 // of the known ones
	in := parser{b: b}
	for len(in.b) > 0 {
		id := in.varint()
		value := parser{b: in.bytes(in.varint())}
		if in.short {
			return bad("parameters end inside of one")
		}
		field := p.number(id)
		if field == nil && id != paramProtocols {
			if id == 0 || id == 2 || id == 3 || id >= 0x0a && id <= 0x10 { // §5.1
				return bad("prohibited parameter %#x", id)
			}
			continue
		}
		if slices.Contains(seen, id) {
			return bad("parameter %#x twice", id)
		}
		seen = append(seen, id)
		if field != nil {
			if *field = value.varint(); value.short || len(value.b) > 0 {
				return bad("parameter %#x is not an integer", id)
			}
			continue
		}
		for len(value.b) > 0 && len(p.protocols) < maxProtocols {
			p.protocols = append(p.protocols, string(value.bytes(value.varint())))
		}
		if value.short || len(p.protocols) == 0 {
			return bad("list of application protocols")
		}
	}
	if p.maxStreamsBidi > 1<<60 || p.maxStreamsUni > 1<<60 { // RFC 9000 §18.2
		return bad("more than 2^60 streams")
	}
	if p.maxRecordSize < defaultMaxRecordSize {
		return bad("max_record_size %d", p.maxRecordSize)
	}
	return p, nil
}

// agree picks the application protocol: the server's preference decides, as in RFC 7301 §3.2.
func agree(server, client []string) (string, bool) {
	for _, name := range server {
		if slices.Contains(client, name) {
			return name, true
		}
	}
	return "", false
}
