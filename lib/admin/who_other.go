//go:build !linux

package admin

import "syscall"

// userOf names nobody: the socket's mode says who it may be.
func userOf(syscall.RawConn) string { return "" }
