package cmdutil

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script runs a program, which must not take long, and returns what it wrote and its exit code.
func script(t *testing.T, program string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return out.String(), said.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%s %q: %v", program, args, err)
	}
	return out.String(), said.String(), 0
}

// TestScriptHelp: each script prints the comment at its top, whole, for --help, and refuses an argument that it does not know.
func TestScriptHelp(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository(t), "scripts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	scripts := 0
	for _, file := range files {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if st.IsDir() || st.Mode()&0o111 == 0 {
			continue
		}
		scripts++
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var top strings.Builder
			for _, line := range strings.Split(string(text), "\n")[1:] {
				line, ok := strings.CutPrefix(line, "#")
				if !ok {
					break
				}
				top.WriteString(strings.TrimPrefix(line, " ") + "\n")
			}
			if out, said, code := script(t, file, "--help"); code != 0 || out != top.String() || said != "" {
				t.Errorf("--help: exit code %d, printed\n%s\ninstead of\n%s\nand said %q", code, out, top.String(), said)
			}
			for _, args := range wrongArgs(filepath.Base(file)) {
				out, said, code := script(t, file, args...)
				if code != 64 || out != "" || !strings.HasPrefix(said, filepath.Base(file)+": error: ") {
					t.Errorf("%q: exit code %d, printed %q, said %q", args, code, out, said)
				}
			}
		})
	}
	if scripts < 15 {
		t.Errorf("%d scripts", scripts)
	}
}

// wrongArgs lists command lines that a script must refuse before it does anything.
func wrongArgs(script string) [][]string {
	return append([][]string{{"--bogus"}}, map[string][][]string{
		"bench":       {{"x"}, {"5", "6"}, {"relay", "x"}},
		"bench-relay": {{"--rounds", "x"}, {"--rounds"}},
		"demo":        {{"--seconds", "x"}, {"--seconds"}},
		"desktop-deb": {{"-o"}},
		"fuzz":        {{"x"}, {"0"}},
		"habits":      {{"--minutes", "x"}, {"--only"}, {"--chain-seconds", ""}},
		"soak":        {{"--minutes", "x"}, {"--minutes", "0"}, {"--slow"}, {"--subscribers", "10"}},
		"interop":     {{"iroh-relay", "nosuch"}},
		"lossy":       {{"x"}, {"--seconds", "x"}, {"--only"}},
		"test":        {{"--quick", "--no-apt"}},
		"torture":     {{"--minutes", "x"}, {"--minutes", "0"}, {"--minutes", "08"}, {"--seed"}},
		"transcode":   {{"--crf"}},
	}[script]...)
}

// TestHabitsOfHalfAMinute: the minutes of scripts/habits need not be whole.
func TestHabitsOfHalfAMinute(t *testing.T) {
	_, said, _ := script(t, filepath.Join(repository(t), "scripts", "habits"), "--minutes", "0.5", "--bogus")
	if !strings.HasPrefix(said, "habits: error: unknown argument --bogus\n") {
		t.Errorf("said %q", said)
	}
}

// TestDemoEndsWhatItBuilds: scripts/demo that is terminated while the page builds leaves no npm behind.
func TestDemoEndsWhatItBuilds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"demo", "help.sh"} {
		text, err := os.ReadFile(filepath.Join(repository(t), "scripts", name))
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Join(dir, "scripts"), 0o755), os.WriteFile(filepath.Join(dir, "scripts", name), text, 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	began := filepath.Join(dir, "began")
	npm := "#!/bin/sh\ncat <'" + began + "'\n" // until somebody who writes there goes away
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "web"), 0o755), os.Mkdir(filepath.Join(dir, "bin"), 0o755),
		os.WriteFile(filepath.Join(dir, "bin", "npm"), []byte(npm), 0o755), syscall.Mkfifo(began, 0o600)); err != nil {
		t.Fatal(err)
	}
	demo := exec.Command(filepath.Join(dir, "scripts", "demo"))
	demo.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	defer demo.Process.Kill()
	w, err := os.OpenFile(began, os.O_WRONLY, 0) // npm has begun to read
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := demo.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the demo does not end")
	}
	if code := demo.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d", code)
	}
	// The last reader goes away when npm has ended, which may be a moment after the demo.
	polled := []unix.PollFd{{Fd: int32(w.Fd())}}
	n, err := unix.Poll(polled, 10_000)
	for err == unix.EINTR {
		n, err = unix.Poll(polled, 10_000)
	}
	if n != 1 || polled[0].Revents&unix.POLLERR == 0 {
		t.Errorf("npm still runs: %d, %v, events %#x", n, err, polled[0].Revents)
	}
}
