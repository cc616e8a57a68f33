package archive

import (
	"fmt"
	"strings"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// selection is the tracks that an order is about.
type selection struct {
	all    bool
	track  *object.TrackName
	prefix object.Namespace
}

// parse reads the name of a track, or of a namespace with all below it, in written form. An empty one is everything.
func parse(name string) (s selection, err error) {
	switch {
	case name == "":
		return selection{all: true}, nil
	case strings.Contains(name, "--"):
		t, err := object.ParseTrackName(name)
		s.track = &t
		return s, wrong(name, err)
	}
	s.prefix, err = object.ParseNamespace(name)
	return s, wrong(name, err)
}

func wrong(name string, err error) error {
	if err == nil {
		return nil
	}
	return exit.With(exit.Usage, fmt.Errorf("%q: %w", name, err), "a namespace reads like ec-atsc-2065-3, a track like ec-atsc-2065-3--ts_t07")
}

func (s selection) has(t object.TrackName) bool {
	switch {
	case s.all:
		return true
	case s.track != nil:
		return t.Equal(*s.track)
	}
	return t.Namespace.HasPrefix(s.prefix)
}

// tracks returns the tracks of a store that are selected; an error if there is none of the name.
func tracks(st *store.Store, name string) ([]object.TrackName, error) {
	list, err := selected(st, name)
	if err == nil && len(list) == 0 && name != "" {
		err = nothing(name)
	}
	return list, err
}

// selected returns the tracks of a store that are selected, which may be none.
func selected(st *store.Store, name string) (list []object.TrackName, err error) {
	sel, err := parse(name)
	if err != nil {
		return nil, err
	}
	for _, t := range st.Tracks() {
		if sel.has(t) {
			list = append(list, t)
		}
	}
	return list, nil
}

// nothing is the error for a name of which the store has nothing.
func nothing(name string) error {
	return exit.With(exit.Unreachable, fmt.Errorf("nothing of %s is in the store", name), "ec-relay store lists what there is")
}
