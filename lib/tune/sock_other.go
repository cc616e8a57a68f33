//go:build !linux

package tune

import (
	"context"
	"net"
	"os"
)

func growBuffer(c *net.UDPConn, size int) (granted int) {
	if c.SetReadBuffer(size) != nil {
		return 0
	}
	return size
}

// watchHangup needs poll(2) to report a closed pipe without writing; elsewhere the next write tells.
func watchHangup(*os.File, context.CancelCauseFunc) (stop func()) { return func() {} }
