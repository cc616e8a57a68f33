//go:build !linux

package transport

import "syscall"

// tcpSocket does nothing here.
func tcpSocket(string, string, syscall.RawConn) error { return nil }
