package iroh

import (
	"os/exec"
	"syscall"
)

// own keeps the terminal's signals from the program: its end is that of its standard input.
func own(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
