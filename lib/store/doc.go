// Package store keeps objects on disk: one file per group, in the framing of package object.
//
// In flow objects in any order and from several sources; out flow whole groups in order. What Put
// accepted is in the file before Put returns, so it survives kill -9; a whole group is synced before it
// gets its final name, so it survives power loss. The layout is docs/format/store.md.
package store
