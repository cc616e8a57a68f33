package admin

import (
	"fmt"
	"syscall"
)

// userOf names the user at the other end of a Unix socket.
func userOf(raw syscall.RawConn) (who string) {
	raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			who = fmt.Sprintf("uid %d", cred.Uid)
		}
	})
	return who
}
