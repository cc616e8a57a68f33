package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/irohtest"
)

// TestOverIroh: a relay that reaches another one through two processes of ec-iroh serves what ec-chop made, byte for byte, and
// so does one after the ec-iroh of the other side was killed and is there again.
func TestOverIroh(t *testing.T) {
	irohtest.Path(t)
	if testing.Short() {
		t.Skip("builds several commands; skipped with -short")
	}
	dir, err := os.MkdirTemp("", "ec-over-iroh") // short: the path of a socket has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := func(name string) string { return filepath.Join(dir, name) }
	tools := []string{"ec-sim", "ec-chop", "ec-pub", "ec-relay", "ec-sub"}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir)
	for _, tool := range tools {
		build.Args = append(build.Args, "every.channel/ec/cmd/"+tool)
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sh := func(script string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-ec", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	relay := func(name string, flags ...string) {
		t.Helper()
		cmd := exec.Command(file("ec-relay"), append([]string{"--listen", "unix://" + file(name), "--store", file(name + "-store")}, flags...)...)
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			if t.Failed() {
				t.Logf("relay %s:\n%s", name, log.Bytes())
			}
		})
		wait(t, "the relay's socket", func() bool { _, err := os.Stat(file(name)); return err == nil })
	}
	same := func(a, b string) {
		t.Helper()
		x, err := os.ReadFile(file(a))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(file(b))
		if err != nil || len(y) < 1_000_000 || !bytes.Equal(x, y) {
			t.Fatalf("%s has %d bytes, %s %d, or others: %v", a, len(x), b, len(y), err)
		}
	}

	sh(`ec-sim --at @1780000000 --duration 20s -o in.ts write 5.1
		ec-chop --source home -o in.eco in.ts
		ec-chop --source home --ts --scope broadcast -o want.ts in.ts`)
	relay("a")
	far := irohtest.Start(t, file("a"), nil, "--bind", "127.0.0.1:0")
	near := irohtest.Start(t, "", nil, "--bind", "127.0.0.1:0")
	relay("b", "--upstream", "unix://"+near.Socket(t, far.ID, far.Addrs...))

	sh(`ec-pub unix://$PWD/a < in.eco`)
	sh(`ec-sub --retry 20s --ts --from first --to now -o past.ts unix://$PWD/b ec-atsc-2065-3
		ec-sub --list unix://$PWD/a > a.list
		ec-sub --list unix://$PWD/b > b.list
		cmp a.list b.list`)
	same("past.ts", "want.ts")

	// killed, and there again at the same address
	far.Process.Kill()
	wait(t, "the end of the connection", func() bool { return gone(near) })
	again := irohtest.Start(t, file("a"), nil, "--bind", far.Addrs[0])
	relay("c", "--upstream", "unix://"+near.Socket(t, again.ID, again.Addrs...))
	sh(`ec-sub --retry 20s --ts --from first --to now -o again.ts unix://$PWD/c ec-atsc-2065-3`)
	same("again.ts", "want.ts")
}

// gone reads records until one tells of an end that nobody said.
func gone(n *irohtest.Node) bool {
	for {
		select {
		case r := <-n.Records:
			if r.Event == "gone" && strings.HasPrefix(r.Reason, "nothing came from the peer") {
				return true
			}
		default:
			return false
		}
	}
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !until(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
