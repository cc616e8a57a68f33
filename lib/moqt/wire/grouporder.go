package wire

// GroupOrder says which groups of a subscription go first when not all can (§7.1), and in which order
// FETCH returns groups.
type GroupOrder uint64

// Group orders. Zero leaves the choice to the publisher.
const (
	GroupOrderDefault    GroupOrder = 0
	GroupOrderAscending  GroupOrder = 1
	GroupOrderDescending GroupOrder = 2
)

// String names the order.
func (o GroupOrder) String() string {
	switch o {
	case GroupOrderAscending:
		return "ascending"
	case GroupOrderDescending:
		return "descending"
	}
	return "default"
}
