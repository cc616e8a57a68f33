package wire

import "testing"

// everyMessage22 has the messages of draft 20, and the filter that has a form of its own there.
var everyMessage22 = append([]Message{
	&Subscribe{3, aTrack, Parameters{SubscriptionFilter: &Filter{Type: FilterAbsoluteStart}}},
}, everyMessage20...)

// TestGolden22 are own vectors: a location filter begins with a type and has no length (draft-22 §9.20.9).
func TestGolden22(t *testing.T) {
	update := func(f Filter) *RequestUpdate {
		return &RequestUpdate{RequestID: 4, Parameters: Parameters{SubscriptionFilter: &f}}
	}
	joined := Parameters{
		SubscriptionFilter: &Filter{Type: FilterLargestObject}, GroupOrder: GroupOrderAscending,
		Fill: &Parameters{SubscriptionFilter: &Filter{Type: FilterRelativeStart, Groups: 200}, GroupOrder: GroupOrderAscending},
	}
	golden(t, Draft22, []goldenMessage{
		{"02 0004 04 01 21 00", update(Filter{})},
		{"02 0005 04 01 21 01 00", update(Filter{Type: FilterNextGroupStart})},
		{"02 0006 04 01 21 01 8080", update(Filter{Type: FilterRelativeStart, Groups: 128})},
		{"02 0006 04 01 21 02 00 00", update(Filter{Type: FilterAbsoluteStart})},
		{"02 0007 04 01 21 02 8100 03", update(Filter{Type: FilterAbsoluteStart, Start: Location{256, 3}})},
		{"02 0007 04 01 21 03 07 03 02", update(Filter{Type: FilterAbsoluteRange, Start: Location{7, 3}, EndGroup: 9})},
		{"02 0008 04 01 21 04 07 03 02 00", update(Filter{Type: FilterObjectRange, Start: Location{7, 3}, EndGroup: 9})},
		{"02 0004 04 01 21 05", update(Filter{Type: FilterLargestObject})},
		{"03 0017 02 01 04 6c697665 01 76 03 21 05 01 01 01 07 02 21 01 80c8 01 01", &Subscribe{2, live, joined}},
		{"16 000e 02 01 04 6c697665 01 76 01 21 02 01 02", &Fetch{RequestID: 2, FetchType: FetchStandalone, Track: live, Start: Location{1, 2}, End: FetchOpenEnd}},
		{"16 000d 02 01 04 6c697665 01 76 01 21 01 02", &Fetch{RequestID: 2, FetchType: FetchRelative, Track: live, Groups: 2}},
		{"22 0006 02 09 0a03 18 05", &PublishStateNotify{Parameters{LargestObject: &Location{10, 3}, SubscriptionFilter: &Filter{Type: FilterLargestObject}}}},
	})
	refusedAll(t, Draft22, []refusedMessage{
		{"filter type 6", "04 01 21 06", 0x02},
		{"filter cut", "04 01 21 03 07 03", 0x02},
		{"filter with the length of draft 20", "04 01 21 02 00 00 00", 0x02},
		{"filter end over 2^64", "04 01 21 03 01 00 ffffffffffffffffff", 0x02},
		{"filter type 2^64-1", "04 01 21 ffffffffffffffffff", 0x02},
		{"no filter", "04 01 21", 0x02},
	})
}
