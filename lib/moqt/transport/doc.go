// Package transport makes connections: streams and datagrams between two ends, over raw QUIC, WebTransport, QMux (on Unix sockets, TCP
// and WebSocket), and in memory.
//
//	conn, err := transport.Dial(ctx, "https://relay/room", tlsConf, &transport.Options{Protocols: []string{"moqt-18", "moqt-16"}})
//	conn.Info().Protocol                // which of them the two ends agreed on
//	st, err := conn.OpenUniStream(ctx)  // waits for the peer's credit
//
//	l, err := transport.Listen("127.0.0.1:4443", tlsConf, &options)
//	conn, err := l.Accept(ctx)
//
// What flows in are an address, a TLS configuration and names of protocols; what flows out is a Conn, the same whatever lies below.
// Streams have priorities, flow control, FIN and RESET as QUIC has them (RFC 9000).
//
// A connection ends where a session begins: the transport offers names and says which was agreed on, and has no idea what a name
// stands for. No message of a draft is read or written here. Of package wire it takes the types of the two kinds of error codes,
// which it carries from one end to the other, and the few codes for what goes wrong before there is a session. Package moqt makes
// sessions of connections.
package transport
