package moqt

// Urgencies of RFC 9218, 0 first. The control stream goes before all data (§7.2).
const (
	urgencyControl int8 = 0
	urgencyLast    int8 = 7
)

// urgency maps subscriber and publisher priority (§7), 256 levels each, to the seven a transport has left. Subscriber
// priority decides before publisher priority (§7.2), so the mapping follows that order and merges neighbours: publisher
// priority counts among subscribers with the default priority, which nearly all have.
func urgency(subscriber, publisher uint8) int8 {
	switch {
	case subscriber < DefaultPriority/2:
		return 1
	case subscriber < DefaultPriority:
		return 2
	case subscriber > DefaultPriority+DefaultPriority/2:
		return 7
	case subscriber > DefaultPriority:
		return 6
	case publisher < DefaultPriority:
		return 3
	case publisher == DefaultPriority:
		return 4
	}
	return 5
}
