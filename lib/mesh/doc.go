// Package mesh is what makes relays peers: who may be one, by which ticket, key or socket, and how one keeps a whole copy of
// what the others have.
//
// Sessions, tickets and keys flow in; decisions about sessions flow out. What a relay's peers have flows in, and wishes what to
// fetch next flow out. docs/mesh.md says who can see and do what, docs/format/ticket.md has the files.
package mesh
