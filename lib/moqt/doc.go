// Package moqt is a MoQ Transport session: tracks, published and subscribed over the connections of package transport, by
// draft-ietf-moq-transport-16 and -18 (clauses of 16 cited as §, those of 18 as draft-18 §).
//
// Streams flow in and streams flow out: an object is a header followed by a payload that is read or
// written as it comes, so a relay can pass an object on before it is complete. FIN and RESET reach the
// caller. A reader that does not read holds its publisher back through stream and flow control credit;
// nothing is dropped in silence.
//
//	sess, err := moqt.Dial(ctx, "moqt://relay:4443", tlsConf, &moqt.Config{Handler: h})
//	go sess.Run(ctx)                     // serves the session until it ends
//	sub, err := sess.Subscribe(ctx, track, moqt.SubscribeOptions{})
//	for {
//		group, err := sub.AcceptSubgroup(ctx)  // *DoneError at the end
//		for {
//			obj, err := group.Next()             // io.EOF: FIN
//			io.Copy(dst, group)                  // obj.Size bytes
//		}
//	}
//
// Constructors start nothing, but for Dial, DialOn and Session.Handshake, from which on a session of draft 18 takes streams; it must be
// Run or Closed. Session.Run drives the session and returns when all it started is over.
// A peer's requests reach the Handler of the Config. Codecs are in package wire.
package moqt
