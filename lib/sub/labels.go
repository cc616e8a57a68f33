package sub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// labelled returns the namespace of what receivers call by a label: a channel number, a callsign or the name of a service, in upper or lower
// case. That is the broadcast to which the receiver promotes. found is false if nobody calls anything so; it is an error if several broadcasts are
// called so, or if no receiver knows yet to which broadcast it is to promote.
func labelled(ctx context.Context, sess *client.Session, label string) (ns object.Namespace, found bool, err error) {
	all, err := namespaces(ctx, sess, sourcePrefix)
	if refused := (*moqt.RequestError)(nil); errors.As(err, &refused) {
		return nil, false, nil // this relay tells of no sources
	} else if err != nil {
		return nil, false, err
	}
	var called, receivers []string
	for _, s := range all {
		c, err := readStored(ctx, sess, catalog.Of(s))
		if ctx.Err() != nil {
			return nil, false, err
		}
		if c == nil || c.EC == nil || !isCalled(c.EC.Labels, label) {
			continue
		}
		if name := c.EC.Broadcast; name == "" {
			receivers = append(receivers, s.String())
		} else if !slices.Contains(called, name) {
			called = append(called, name)
		}
	}
	switch len(called) {
	case 0:
		if len(receivers) == 0 {
			return nil, false, nil
		}
		return nil, false, &unknownTrack{label, fmt.Errorf("it is received by %s, and its broadcast is not known yet", strings.Join(receivers, " and "))}
	case 1:
		ns, err = object.ParseNamespace(called[0])
		return ns, err == nil, err
	}
	slices.Sort(called)
	return nil, false, usageError{fmt.Errorf("%q is %s; say which", label, strings.Join(called, " and "))}
}

// isLabel reports whether what is no name may be what receivers call a channel. Who writes a slash or the name of a track means a name.
func isLabel(s string) bool {
	return s != "" && !strings.Contains(s, "/") && !strings.Contains(s, "--")
}

func isCalled(labels map[string]string, label string) bool {
	for _, k := range labelKeys {
		if v := labels[k]; v != "" && strings.EqualFold(v, label) {
			return true
		}
	}
	return false
}
