//go:build !linux

package home

import "os/exec"

func own(*exec.Cmd) {}
