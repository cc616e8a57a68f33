package moqt

import (
	"slices"
	"sync/atomic"

	"every.channel/ec/lib/moqt/wire"
)

// counters are what a session counts: one atomic number each, so that counting takes no lock and allocates nothing.
type counters [counterCount]atomic.Uint64

// counter is an index of counters. Where there is one for each direction, that of what arrived follows that of what was sent.
type counter int

const (
	cStreams   counter = 2 * iota // of data
	cObjects                      // whose header was written or read
	cBytes                        // of payload
	cDatagrams                    // objects in datagrams
)

const (
	sent     counter = 0
	received counter = 1
)

const (
	cDatagramsDropped counter = 8 + iota
	cWriteWait                // nanoseconds
	cStreamWait
	cRequests // × direction × requestNames × outcomes
	cResets   = cRequests + 2*counter(len(requestNames))*outcomes
	cStops    = cResets + 2*resetSlots
	cLimits   = cStops + 2*resetSlots

	counterCount = cLimits + limitCount
)

// Outcomes of a request.
const (
	accepted counter = iota
	refused
	unanswered
	outcomes
)

// requestNames are the requests of all drafts; requestOf gives the index.
var requestNames = [...]string{
	"SUBSCRIBE", "PUBLISH", "FETCH", "TRACK_STATUS", "PUBLISH_NAMESPACE", "SUBSCRIBE_NAMESPACE", "SUBSCRIBE_TRACKS", "REQUEST_UPDATE",
}

func requestOf(m wire.Message) counter {
	switch m.(type) {
	case *wire.Subscribe:
		return 0
	case *wire.Publish:
		return 1
	case *wire.Fetch:
		return 2
	case *wire.TrackStatus:
		return 3
	case *wire.PublishNamespace:
		return 4
	case *wire.SubscribeNamespace:
		return 5
	case *wire.SubscribeTracks:
		return 6
	}
	return 7
}

// resetCodes are those counted apart; there is a slot for all others.
var resetCodes = [...]ResetCode{
	wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetSessionClosed, wire.ResetUnknownObjectStatus,
	wire.ResetMalformedTrack, wire.ResetGoingAway, wire.ResetTooFarBehind, wire.ResetExpiredAuthToken, wire.ResetExcessiveLoad,
}

const resetSlots = counter(len(resetCodes)) + 1

// limit is a bound of Config that a peer, or this side, ran into.
type limit counter

const (
	limitRequests limit = iota // MaxRequests: further ones were refused or had to wait
	limitStreams               // MaxStreams: further ones had to wait
	limitPendingStreams
	limitObjectSize
	limitPropertiesSize
	limitNamespaces
	limitTokenCache
	limitHandshake
	limitAlias
	limitHeader
	limitDone
	limitResponse
	limitControl // the peer left control messages unread
	limitCount   = counter(iota)
)

// limitNames are those of the fields of Config.
var limitNames = [limitCount]string{
	"MaxRequests", "MaxStreams", "MaxPendingStreams", "MaxObjectSize", "MaxPropertiesSize", "MaxNamespaces", "MaxTokenCache",
	"HandshakeTimeout", "AliasTimeout", "HeaderTimeout", "DoneTimeout", "ResponseTimeout", "ControlTimeout",
}

func (c *counters) add(i counter, n uint64) { c[i].Add(n) }

func (c *counters) request(dir, request, outcome counter) {
	c[cRequests+(dir*counter(len(requestNames))+request)*outcomes+outcome].Add(1)
}

// reset counts a RESET_STREAM, stop a STOP_SENDING.
func (c *counters) reset(dir counter, code ResetCode) {
	c[cResets+dir*resetSlots+resetSlot(code)].Add(1)
}
func (c *counters) stop(dir counter, code ResetCode) { c[cStops+dir*resetSlots+resetSlot(code)].Add(1) }

func resetSlot(code ResetCode) counter {
	if i := slices.Index(resetCodes[:], code); i >= 0 {
		return counter(i)
	}
	return resetSlots - 1
}

func (c *counters) limit(l limit) { c[cLimits+counter(l)].Add(1) }

// addTo adds every number to sum.
func (c *counters) addTo(sum *counters) {
	for i := range c {
		if n := c[i].Load(); n > 0 {
			sum[i].Add(n)
		}
	}
}
