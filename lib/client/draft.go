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
	if v, ok := wire.VersionByALPN("moqt-" + draft); ok {
		return []moqt.Version{v}, nil
	}
	return nil, &Error{"draft " + draft, fmt.Errorf("not spoken here"), exit.Usage, spoken() + " are"}
}

// spoken names the drafts that are, the oldest first.
func spoken() string {
	var list []string
	for _, v := range wire.Versions() {
		list = append([]string{strings.TrimPrefix(v.String(), "moqt-")}, list...)
	}
	last := len(list) - 1
	return fmt.Sprintf("drafts %s and %s", strings.Join(list[:last], ", "), list[last])
}
