package moqt

// Transport names what the session runs over: quic, webtransport, websocket, unix, tcp, or memory.
func (s *Session) Transport() string {
	conn := s.conn
	if r, ok := conn.(recoded); ok {
		conn = r.Conn
	}
	switch c := conn.(type) {
	case *quicConn:
		return "quic"
	case *webConn:
		return "webtransport"
	case *qmuxConn:
		if !c.native {
			return "websocket"
		}
		return c.remote.Network()
	}
	return "memory"
}
