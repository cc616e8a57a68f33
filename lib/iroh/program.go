package iroh

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"every.channel/ec/lib/exit"
)

// Program is the name of the program.
const Program = "ec-iroh"

// missing says how to get the program.
type missing struct{ err error }

func (m *missing) Error() string { return Program + " is not on this machine: " + m.err.Error() }
func (m *missing) Unwrap() error { return m.err }
func (m *missing) ExitCode() int { return exit.Unreachable }
func (m *missing) Hint() string {
	return "it is built with Rust: cargo build --release in bridge/; EC_IROH, our own folder and PATH are where it is looked for"
}

// Find returns the path of the program: what EC_IROH names, the one beside our own, or the first in PATH.
func Find() (string, error) {
	if path := os.Getenv("EC_IROH"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", &missing{err}
		}
		return found, nil
	}
	if self, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), Program)); err == nil {
			return found, nil
		}
	}
	found, err := exec.LookPath(Program)
	if err != nil {
		return "", &missing{errors.Unwrap(err)}
	}
	return found, nil
}
