package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
	"every.channel/ec/lib/loopback"
	"every.channel/ec/lib/moqt/wire"
)

// TestMoqRelayTools: what ec-pub publishes at moq-relay of moq-dev, ec-sub reads there, byte for byte, with each draft.
func TestMoqRelayTools(t *testing.T) {
	relay, bin := foreign.Path(t, "EC_MOQ_RELAY", "the path of moq-relay"), tools(t)
	for _, v := range wire.Versions() {
		draft := strings.TrimPrefix(v.String(), "moqt-")
		t.Run(v.String(), func(t *testing.T) {
			addr := loopback.Address(t)
			foreign.Run(t, nil, nil, relay, "--listen", addr, "--listen-tls-generate", "localhost", "--auth-public", "**", "--listen-version", "moq-transport-"+draft)
			toolsThrough(t, bin, addr)
		})
	}
}

// tools builds those of ours that a broadcast needs, and returns their folder.
func tools(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := []string{"build", "-buildvcs=false", "-o", bin}
	for _, tool := range []string{"ec-sim", "ec-chop", "ec-pub", "ec-sub"} {
		build = append(build, "every.channel/ec/cmd/"+tool)
	}
	if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// toolsThrough publishes a simulated broadcast at a relay of others and reads it there, while it is live.
func toolsThrough(t *testing.T, bin, addr string) {
	dir := t.TempDir()
	var log bytes.Buffer
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Stderr = dir, &log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "EC_INSECURE=true", "RELAY=moqt://"+addr)
		return cmd
	}
	pub := command("sh", "-c", `ec-sim --live --duration 1m write 5.1 | tee live.ts | ec-chop --source home | ec-pub --retry 1m "$RELAY" 2>pub.log`)
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-pub.Process.Pid, syscall.SIGKILL) // its own group
		pub.Wait()
	})
	// The relay passes on what is live: of the first group, which may have begun before, it does not say where it ends. So ec-sub cannot
	// know that nothing of that group is missing; that nothing is, is seen below.
	sub := command("sh", "-c", `exec ec-sub --ts --retry 1m --duration 20s --allow-gaps -o out.ts "$RELAY" ec-atsc-2065-3 2>sub.log`)
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { sub.Process.Kill() })
	err := sub.Wait()
	late.Stop()
	for _, name := range []string{"pub.log", "sub.log"} {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		t.Logf("%s: %s", name, b)
	}
	if err != nil {
		t.Fatalf("ec-sub: %v\n%s", err, log.Bytes())
	}
	if out, err := command("sh", "-c", `ec-chop --source home --ts --scope broadcast -o want.ts live.ts 2>&1`).Output(); err != nil {
		t.Fatalf("ec-chop: %v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out.ts"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "want.ts"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 500_000 || !bytes.Contains(want, got) {
		t.Errorf("%d bytes came, %d were broadcast, equal: %v", len(got), len(want), bytes.Contains(want, got))
	}
	t.Logf("%d bytes, equal to what was published", len(got))
}
