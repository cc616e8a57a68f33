// Package iroh runs ec-iroh, the program that carries MoQ over iroh: starts it, watches it, starts it again, and ends it.
//
// Ids of peers and connections flow in and out: a connection is a net.Conn over which QMux is spoken. docs/format/iroh.md has what
// is said on the program's sockets and its standard output.
package iroh
