package wire

import (
	"slices"

	"every.channel/ec/lib/object"
)

// The parameters each message of draft 20 may carry (draft-20 §10.2).
var (
	fill20 = Parameters{
		FillTimeout: ptr(uint64(250)), SubscriberPriority: ptr(uint8(3)), GroupOrder: GroupOrderDescending,
		SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 300}, RangeFilters: ranges20[:1],
	}
	ranges20 = []KeyValue{
		{Type: 0x25, Bytes: []byte{0, 3, 2, 5, 5}}, {Type: 0x25, Bytes: []byte{1, 7}}, {Type: 0x26, Bytes: []byte{0, 0, 1}},
		{Type: 0x27, Bytes: []byte{2, 0, 0x80, 0x80}}, {Type: 0x28, Bytes: []byte{0, 4, 1}},
	}
	subscribe20 = Parameters{
		DeliveryTimeout: 5000, Tokens: tokens18, RendezvousTimeout: ptr(uint64(0)), SubgroupDeliveryTimeout: ptr(uint64(1 << 63)),
		Forward: ptr(false), SubscriberPriority: ptr(uint8(200)), GroupOrder: GroupOrderDescending, NewGroupRequest: ptr(uint64(129)),
		SubscriptionFilter: &Filter{Type: FilterObjectRange, Start: Location{100, 2}, EndGroup: 1 << 62, EndObject: 1<<64 - 1},
		Fill:               &fill20, RangeFilters: ranges20, IncludeProperties: ptr(false),
	}
	publish20 = Parameters{
		DeliveryTimeout: 5000, Tokens: tokens18, SubgroupDeliveryTimeout: ptr(uint64(0)), Expires: ptr(uint64(70000)),
		LargestObject: &Location{10, 3}, Forward: ptr(false), SubscriberPriority: ptr(uint8(0)), GroupOrder: GroupOrderAscending,
		SubscriptionFilter: &Filter{Type: FilterNextGroupStart},
	}
	update20 = Parameters{
		NoDeliveryTimeout: true, Tokens: tokens18, Forward: ptr(true), SubscriberPriority: ptr(uint8(1)), NewGroupRequest: ptr(uint64(3)),
		SubscriptionFilter: &Filter{}, NamespacePrefix: &object.Namespace{"ec", "atsc"}, Fill: &Parameters{},
		RangeFilters: []KeyValue{{Type: 0x25, Bytes: []byte{}}, {Type: 0x29, Bytes: []byte{0, 4, 1}}},
	}
	tracks20 = Parameters{
		DeliveryTimeout: 5000, Tokens: tokens18, SubgroupDeliveryTimeout: ptr(uint64(1)), Forward: ptr(false), SubscriberPriority: ptr(uint8(1)),
		GroupOrder: GroupOrderAscending, SubscriptionFilter: &Filter{Type: FilterLargestObject}, Fill: &fill20,
		RangeFilters: append(slices.Clone(ranges20), KeyValue{Type: 0x29, Bytes: []byte{9, 4, 1, 1}}), IncludeProperties: ptr(true),
	}
	fetch20 = Parameters{
		Tokens: tokens18, FillTimeout: ptr(uint64(0)), SubscriberPriority: ptr(uint8(7)), GroupOrder: GroupOrderDescending,
		RangeFilters: ranges20, IncludeProperties: ptr(false),
	}
)

// everyMessage20 has each message of draft 20 once with every field set, and each form of a filter.
var everyMessage20 = append([]Message{
	&Setup{SetupParameters{
		Path: ptr("/moq?x=1"), Authority: ptr("relay:4443"), MaxAuthTokenCacheSize: ptr(uint64(16384)), MaxFilterRanges: ptr(uint64(16)),
		Implementation: ptr("every.channel"), MaxRequestUpdates: ptr(uint64(1)),
	}},
	&GoAway{"moqt://elsewhere:443/", 5000, nil},
	&GoAway{},
	&RequestOK{Parameters: established18, Properties: someKVs},
	&RequestError{Code: RequestInvalidFilter, Reason: "ranges"},
	&RequestError{Code: RequestConflictingFilters},
	&RequestError{Code: RequestUninterested},
	&Subscribe{3, aTrack, subscribe20},
	&Subscribe{3, aTrack, Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteStart, Start: Location{0, 1}}}},
	&Subscribe{3, aTrack, Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteRange, Start: Location{0, 0}, EndGroup: 0}}},
	&RequestUpdate{RequestID: 6, Parameters: update20},
	&Publish{8, aTrack, 9, publish20, someKVs},
	&PublishDone{Code: DoneTrackEnded, StreamCount: MaxVarint, Reason: "done"},
	&PublishDone{Code: DoneExpired, StreamCount: MaxVarint - 1},
	&PublishStateNotify{Parameters{
		LargestObject: &Location{10, 3}, Forward: ptr(false), SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 1},
	}},
	&Fetch{RequestID: 9, FetchType: FetchStandalone, Track: aTrack, Start: Location{1, 2}, End: Location{3, 0}, Parameters: fetch20},
	&Fetch{RequestID: 9, FetchType: FetchStandalone, Track: aTrack, Start: Location{1, 0}, End: Location{1, 1}},
	&Fetch{RequestID: 9, FetchType: FetchStandalone, Track: aTrack, End: FetchOpenEnd},
	&Fetch{RequestID: 9, FetchType: FetchStandalone, Track: aTrack, Start: Location{0, 1}, End: FetchOpenEnd},
	&Fetch{RequestID: 9, FetchType: FetchRelative, Track: aTrack, Groups: 3},
	&Fetch{RequestID: 9, FetchType: FetchRelative, Track: aTrack},
	&FetchOK{EndOfTrack: true, End: Location{3, 0}, Properties: someKVs},
	&FetchOK{End: Location{3, 1}},
	&TrackStatus{Subscribe{10, aTrack, Parameters{Tokens: tokens18, IncludeProperties: ptr(true)}}},
	&SubscribeTracks{14, object.Namespace{}, tracks20},
}, same20()...)

// same20 are those messages of draft 18 that draft 20 has, too, and no test above.
func same20() (list []Message) {
	for _, m := range everyMessage18 {
		switch m.(type) {
		case *SubscribeOK, *PublishNamespace, *Namespace, *NamespaceDone, *SubscribeNamespace, *PublishBlocked:
			list = append(list, m)
		}
	}
	return list
}

// everyMessageOf has each message of each draft.
var everyMessageOf = map[Version][]Message{Draft16: everyMessage, Draft18: everyMessage18, Draft20: everyMessage20, Draft22: everyMessage22}
