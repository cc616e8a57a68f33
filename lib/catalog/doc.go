// Package catalog says what there is to watch: the MSF catalog of a namespace, and the manifest and
// timeline of a source.
//
// In flow JSON payloads of the tracks `catalog`, `manifest` and `timeline`, out flow Go values, and the
// other way round. Encoders are deterministic: equal values give equal bytes, so a catalog derived from
// a chunk is the same at every receiver. The formats are docs/format/catalog.md, MSF
// (draft-ietf-moq-msf-01) and its transport stream packaging (draft-gregoire-moq-msfts).
package catalog
