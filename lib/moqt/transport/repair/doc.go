// Package repair is a layer between QUIC and its UDP socket that makes good the datagrams which a path loses, so that the loss-based
// congestion control above (RFC 9002) does not take a bad radio link for a full one.
//
//	c := repair.New(socket, repair.Options{Accept: true})  // or c.Offer(server) at the side that dials
//	tr := &quic.Transport{Conn: c.PacketConn()}
//
// What flows in and out on one side are the datagrams of QUIC, on the other side the same datagrams and the frames of
// docs/format/repair.md. Two ends that both have the layer find that out beside QUIC's own handshake, which waits for nothing. A peer
// without it sees plain QUIC, and so does a peer with it as long as the path loses little: then datagrams are only counted. Where loss
// would hold QUIC back, they get numbers; groups of them get Reed-Solomon parity, as much as the measured loss asks for; what is
// missing is asked for; and datagrams are handed up in their order, with a bounded wait.
//
// Where loss comes together with a growing round-trip time the path is full, and hiding it would starve others: then nothing is hidden.
package repair
