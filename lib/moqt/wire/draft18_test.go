package wire

import "every.channel/ec/lib/object"

// The parameters each message of draft 18 may carry (draft-18 §10.2).
var (
	tokens18    = []Token{{AliasType: TokenRegister, Alias: 300, Type: 1, Value: []byte("secret")}, {AliasType: TokenDelete, Alias: 2}}
	subscribe18 = Parameters{
		DeliveryTimeout: 5000, Tokens: tokens18, RendezvousTimeout: ptr(uint64(0)), SubgroupDeliveryTimeout: ptr(uint64(1 << 63)),
		Forward: ptr(false), SubscriberPriority: ptr(uint8(200)), GroupOrder: GroupOrderDescending, NewGroupRequest: ptr(uint64(129)),
		SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{100, 2}, EndGroup: 1 << 62},
	}
	publishOK18 = Parameters{
		DeliveryTimeout: 5000, SubgroupDeliveryTimeout: ptr(uint64(0)), Expires: ptr(uint64(70000)), Forward: ptr(true),
		SubscriberPriority: ptr(uint8(0)), GroupOrder: GroupOrderAscending, NewGroupRequest: ptr(uint64(0)),
		SubscriptionFilter: &Filter{Type: FilterAbsoluteStart, Start: Location{1<<64 - 1, 2}},
	}
	update18 = Parameters{
		NoDeliveryTimeout: true, Tokens: tokens18, Forward: ptr(true), SubscriberPriority: ptr(uint8(1)), NewGroupRequest: ptr(uint64(3)),
		SubscriptionFilter: &Filter{Type: FilterNextGroupStart}, NamespacePrefix: &object.Namespace{"ec", "atsc"},
	}
	onlyTokens18  = Parameters{Tokens: tokens18}
	established18 = Parameters{Expires: ptr(uint64(30)), LargestObject: &Location{1 << 20, 130}}
)

// everyMessage18 has each message of draft 18 once with every field set.
var everyMessage18 = []Message{
	&Setup{SetupParameters{
		Path: ptr("/moq?x=1"), Authority: ptr("relay:4443"), MaxAuthTokenCacheSize: ptr(uint64(16384)),
		Tokens: []Token{{AliasType: TokenUseValue, Type: 0, Value: []byte{}}}, Implementation: ptr("every.channel"),
	}},
	&Setup{},
	&GoAway{"moqt://elsewhere:443/", 5000, ptr(uint64(128))},
	&GoAway{},
	&RequestOK{Parameters: Parameters{}},
	&RequestOK{Parameters: established18, Properties: someKVs},
	&RequestOK{Parameters: publishOK18},
	&PublishOK{Parameters: publishOK18},
	&RequestError{Code: RequestDoesNotExist, RetryInterval: 1001, Reason: "no such track"},
	&RequestError{Code: RequestRedirect, Reason: "there", Redirect: &Redirect{"moqt://elsewhere/", aTrack}},
	&RequestError{Code: RequestRedirect, Redirect: &Redirect{Track: object.TrackName{Namespace: object.Namespace{}}}},
	&Subscribe{3, aTrack, subscribe18},
	&Subscribe{300, object.TrackName{Namespace: object.Namespace{}, Name: "x"}, Parameters{}},
	&SubscribeOK{TrackAlias: 1 << 63, Parameters: established18, Properties: someKVs},
	&RequestUpdate{RequestID: 6, Parameters: update18},
	&Publish{8, aTrack, 9, Parameters{
		Tokens: tokens18, Expires: ptr(uint64(1)), LargestObject: &Location{10, 3}, Forward: ptr(false),
	}, someKVs},
	&PublishDone{Code: DoneTrackEnded, StreamCount: MaxVarint, Reason: "done"},
	&PublishDone{Code: DoneExpired},
	&PublishDone{Code: DoneTooFarBehind},
	&PublishDone{Code: DoneExcessiveLoad},
	&Fetch{
		RequestID: 9, FetchType: FetchStandalone, Track: aTrack, Start: Location{1, 2}, End: Location{3, 0},
		Parameters: Parameters{Tokens: tokens18, FillTimeout: ptr(uint64(0)), SubscriberPriority: ptr(uint8(7)), GroupOrder: GroupOrderDescending},
	},
	&Fetch{RequestID: 9, FetchType: FetchRelativeJoining, JoiningRequestID: 3, JoiningStart: 2},
	&Fetch{RequestID: 9, FetchType: FetchAbsoluteJoining, JoiningRequestID: 3, JoiningStart: 200},
	&FetchOK{EndOfTrack: true, End: Location{3, 4}, Properties: someKVs},
	&TrackStatus{Subscribe{10, aTrack, onlyTokens18}},
	&PublishNamespace{11, aTrack.Namespace, onlyTokens18},
	&PublishNamespace{11, object.Namespace{}, Parameters{}},
	&Namespace{object.Namespace{"2065"}},
	&NamespaceDone{object.Namespace{}},
	&SubscribeNamespace{12, object.Namespace{"ec"}, SubscribeNamespaces, onlyTokens18},
	&SubscribeTracks{14, object.Namespace{}, Parameters{Tokens: tokens18, Forward: ptr(false)}},
	&PublishBlocked{object.Namespace{"2065"}, "ts_t07"},
}
