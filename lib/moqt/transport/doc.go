// Package transport makes connections of streams and datagrams: over raw QUIC, WebTransport, QMux (on Unix sockets, TCP, WebSocket), and
// in memory.
package transport
