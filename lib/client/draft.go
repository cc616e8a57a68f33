package client

import (
	"fmt"
	"strings"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

// Versions reads the number of a draft, as --draft takes it; "" is all that are spoken.
func Versions(draft string) ([]moqt.Version, error) {
	if draft == "" {
		return nil, nil
	}
	var spoken []string
	for _, v := range wire.Versions() {
		if v.String() == "moqt-"+draft {
			return []moqt.Version{v}, nil
		}
		spoken = append([]string{strings.TrimPrefix(v.String(), "moqt-")}, spoken...)
	}
	last := len(spoken) - 1
	hint := fmt.Sprintf("drafts %s and %s are", strings.Join(spoken[:last], ", "), spoken[last])
	return nil, &Error{"draft " + draft, fmt.Errorf("not spoken here"), exit.Usage, hint}
}
