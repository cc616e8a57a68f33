package moqt

// Handle makes h the handler of this session's requests instead of the Config's. It must be called before Run or
// Handshake: a server that tells its peers apart gives each session a handler of its own.
func (s *Session) Handle(h Handler) { s.cfg.Handler = h }

// ResetDelivered abandons the stream like Reset, but what was written before is delivered first where the transport can
// do that, which raw QUIC cannot at present (lib/moqt/transport/quic.go).
func (w *SubgroupWriter) ResetDelivered(code ResetCode) {
	if w.started {
		w.st.SetReliableBoundary()
	}
	w.Reset(code)
}
