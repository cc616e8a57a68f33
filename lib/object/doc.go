// Package object is the vocabulary every tool shares: names of tracks, objects, their properties and
// hashes, and the one framing in which objects travel.
//
// In flow objects in memory or a framed stream (a pipe, a group file, a capture file); out flows the
// other. The framing is docs/format/eco.md, names are docs/format/names.md, properties are
// docs/format/properties.md. The data model is that of draft-ietf-moq-transport-16 §2.
package object
