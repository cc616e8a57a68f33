package wire

import "maps"

// parameters22 are the parameters of draft 22: those of draft 20, but for a location filter that says itself where it ends (draft-22
// §9.20.9).
var parameters22 = func() map[uint64]parameterForm {
	m := maps.Clone(parameters20)
	m[paramLocationFilter] = parameterForm{asFilter, m[paramLocationFilter].messages}
	return m
}()
