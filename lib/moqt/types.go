package moqt

import "every.channel/ec/lib/moqt/wire"

// What the wire defines and users of a session need, by the names of this package.
type (
	Version      = wire.Version
	Location     = wire.Location
	Filter       = wire.Filter
	Redirect     = wire.Redirect
	GroupOrder   = wire.GroupOrder
	ObjectStatus = wire.ObjectStatus
	Token        = wire.Token
	SessionCode  = wire.SessionCode
	RequestCode  = wire.RequestCode
	DoneCode     = wire.DoneCode
	ResetCode    = wire.ResetCode
)

// DefaultPriority is the priority of publishers and subscribers that do not name one (§9.2.2.3, §11).
const DefaultPriority uint8 = 128

// UnknownStreamCount in PUBLISH_DONE says that the publisher did not count its streams (§9.15).
const UnknownStreamCount uint64 = wire.MaxVarint

const (
	wireTrackEnded        = wire.DoneTrackEnded
	wireSubscriptionEnded = wire.DoneSubscriptionEnded
)
