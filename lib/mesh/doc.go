// Package mesh decides which relays are peers, by ticket, key or socket, and what a relay fetches to keep a whole copy of its
// peers' groups.
//
// Sessions, tickets and keys flow in; decisions about sessions flow out. The groups that peers have flow in; requests for the
// next groups to fetch flow out. docs/mesh.md says what each side can see and do, docs/format/ticket.md describes the file.
package mesh
