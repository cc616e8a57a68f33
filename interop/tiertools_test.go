package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"every.channel/ec/interop/foreign"
)

// TestTierTools: a broadcast goes through a relay of the command line into the bucket of versitygw and comes back, and the words of the operator say
// where groups lie, also while the bucket is away.
func TestTierTools(t *testing.T) {
	foreign.Path(t, "EC_VERSITYGW", "the path of versitygw")
	bin, v := tools(t), startVersity(t)
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "every.channel/ec/cmd/ec-relay", "every.channel/ec/cmd/ec-dump").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"keys":       "aws_access_key_id = " + versityKey + "\naws_secret_access_key = " + versitySecret + "\n",
		"relay.conf": "tier = http://" + v.addr + "/archive/home\ntier-after = 1s\ntier-retain = 30d\ntier-credentials = keys\nlisten = unix://" + dir + "/relay\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(script string) *exec.Cmd {
		cmd := exec.Command("bash", "-c", "set -o pipefail; "+script)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true}
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "EC_INSECURE=true", "RELAY=unix://"+dir+"/relay")
		return cmd
	}
	// run carries a script out, which ends with a code, and looks for texts in what it says.
	run := func(code int, script string, want ...string) {
		t.Helper()
		out, _ := command(script).CombinedOutput()
		said := string(out)
		if !strings.HasSuffix(said, fmt.Sprintf("code %d\n", code)) {
			t.Errorf("%s: want code %d\n%s", script, code, said)
		}
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: does not say %q\n%s", script, w, said)
			}
		}
		if strings.Contains(said, versitySecret) {
			t.Errorf("%s: tells the secret", script)
		}
	}
	code := `; echo code $?`
	relay := func() (stop func()) {
		cmd := command("exec ec-relay --config relay.conf --store st 2>>relay.log")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		until(t, "the relay", func() bool { return command("ec-relay --store st status >/dev/null 2>&1").Run() == nil })
		return stop
	}
	store := func(args string) string { return "ec-relay --config relay.conf --store st store " + args + code }
	read := `ec-sub --verify --from first --to now "$RELAY" ec-atsc-2065-3 | ec-dump --verify` + code

	stop := relay()
	run(0, `ec-sim --at @1780000000 --duration 60s write 5.1 | ec-chop --source home | ec-pub "$RELAY"`+code)
	tiered := func() bool {
		out, _ := command("ec-relay --store st store").CombinedOutput()
		return strings.Contains(string(out), " in the cold tier "+v.addr+"/archive/home, ") && strings.Contains(string(out), "; 0 wait") && !strings.Contains(string(out), "of them 0 groups")
	}
	until(t, "groups in the tier", tiered)
	run(0, read, " 0 wrong", "missing_groups=0")
	run(0, store("check"), "groups checked")
	stop()

	v.kill()
	stop = relay()
	run(65, read, "part of what was asked for is missing", "msg=\"groups missing")
	run(69, store("check"), "groups in the cold tier were not checked")
	run(0, "ec-relay --store st status"+code, "moving to the cold tier paused since")
	stop()
	run(69, "ec-relay --store st store check"+code, "no bucket is configured", "--config FILE names it")

	v.start()
	run(0, store("check"), "groups checked")
	run(0, "mv st lost"+code) // as when a disk is lost
	stop = relay()
	defer stop()
	run(0, store("relist"), " groups of them are known now that were not")
	run(0, store("check"), "groups checked")
	run(0, store("list"), "ec-atsc-2065-3--ts_t13")
	run(0, store("delete ec-atsc-2065-3"), "deleted ")
	until(t, "the bucket to be without the broadcast", func() bool {
		left, _ := filepath.Glob(filepath.Join(v.dir, "archive", "home", "ec-atsc-2065-3", "ts_t13", "*", "*.eco"))
		return len(left) == 0
	})
	if log, err := os.ReadFile(filepath.Join(dir, "relay.log")); err != nil || strings.Contains(string(log), versitySecret) || !strings.Contains(string(log), "cold tier answers") {
		t.Errorf("relay's log: %v\n%s", err, log)
	}
}
