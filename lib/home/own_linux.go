package home

import (
	"os/exec"
	"syscall"
)

// own keeps the terminal's signals from a program, which ends with its input or output, and lets the kernel end it should we be killed.
func own(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
