// Package loopback finds free addresses for tests. What ships does not import it.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Address is a loopback address whose port is free for TCP and UDP. It stays free for a test that lets go of it and comes back: the
// system hands out ports from 32768 on to those that name none, so only another call of this function can take it.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
