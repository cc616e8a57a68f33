package client

import (
	"fmt"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

// Versions reads the number of a draft, as --draft takes it; "" is all that are spoken.
func Versions(draft string) ([]moqt.Version, error) {
	if draft == "" {
		return nil, nil
	}
	for _, v := range wire.Versions() {
		if v.String() == "moqt-"+draft {
			return []moqt.Version{v}, nil
		}
	}
	return nil, &Error{"draft " + draft, fmt.Errorf("not spoken here"), exit.Usage, "drafts 16 and 18 are"}
}
