//go:build unix

package activate

import "syscall"

// keep keeps a socket from the programs that this one starts.
func keep(fd int) { syscall.CloseOnExec(fd) }
