//go:build !linux

package transport

import "syscall"

// shortQueue does nothing here.
func shortQueue(string, string, syscall.RawConn) error { return nil }
