// Package outage has tests alone: relays and publishers are cut off, killed and started again under load, and what publishers had sent is
// looked for afterwards, object by object.
package outage
