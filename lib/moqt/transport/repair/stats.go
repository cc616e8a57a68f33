package repair

import (
	"fmt"
	"time"
)

// Stats are what the layer did on the path to one peer.
type Stats struct {
	Spoken  bool          // the peer has the layer, too
	Active  bool          // datagrams to the peer get numbers now
	Loss    float64       // part of the datagrams to the peer that the path loses, lately
	RTT     time.Duration // lately; 0: not measured
	Sent    uint64        // datagrams that were sent with a number
	Parity  uint64        // parity frames sent
	Resent  uint64        // datagrams sent again
	Missing uint64        // numbers that did not come when they should have
	Coded   uint64        // of them made from parity
	Again   uint64        // of them sent again by the peer
	GivenUp uint64        // of them not here in time
	Breaks  uint64        // how often the path was full and nothing was hidden any more
}

// String is a few words for a person; none if nothing was repaired.
func (s Stats) String() string {
	switch {
	case s.Missing > 0:
		return fmt.Sprintf("path lost %d, %d made good", s.Missing, s.Coded+s.Again)
	case s.Active && s.Loss > 0:
		return fmt.Sprintf("path loses %.1f %%, repaired", 100*s.Loss)
	}
	return ""
}
