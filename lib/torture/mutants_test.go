package torture

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	mutantTime = flag.Duration("torture.mutants", 0, "breaks the rules of lib/chop one at a time, and looks so long for each")
	only       = flag.String("torture.mutant", "", "only mutants whose name matches this expression")
)

// mutant breaks one rule of the cutter: old, which occurs once in the file, becomes new.
type mutant struct {
	name, file, old, new string
}

// mutants are looked for by TestMutants. A rule that no mutant breaks is a rule that this test may be blind to.
var mutants = []mutant{
	{"reserved ids name a broadcast", "lib/chop/config.go", `func (id Identity) Known() bool { return id.System != "" }`, `func (id Identity) Known() bool { return id.System != "" || id.Program != 0 }`},
	{"a chunk is promoted though it is damaged", "lib/chop/emit.go", `	promote := d.promote && !e.repeated(ch)`, `	promote := (d.promote || ch.synced && ch.identity.Known()) && !e.repeated(ch)`},
	{"a group is said twice", "lib/chop/emit.go", `	return ok && (ch.group < last || ch.group == last && e.promoted == 0)`, `	return ok && ch.group < last-1<<40`},
}

// module is the folder of go.mod.
const module = "../.."

// TestMutantsApply: every mutant still breaks something.
func TestMutantsApply(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants {
		src, err := os.ReadFile(filepath.Join(module, m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := strings.Count(string(src), m.old); n != 1 {
			t.Errorf("%s: what it replaces occurs %d times in %s", m.name, n, m.file)
		}
		if m.old == m.new || seen[m.name] {
			t.Errorf("%s: changes nothing, or its name is not its own", m.name)
		}
		seen[m.name] = true
	}
}

// TestMutants shows that this test sees: each broken rule is found.
func TestMutants(t *testing.T) {
	if *mutantTime == 0 {
		t.Skip("give -torture.mutants, for example 60s")
	}
	var match *regexp.Regexp
	if *only != "" {
		match = regexp.MustCompile(*only)
	}
	root, err := filepath.Abs(module)
	if err != nil {
		t.Fatal(err)
	}
	found, tried := 0, 0
	// Without a mutant nothing must be found, or finding says nothing.
	for _, m := range append([]mutant{{name: "none"}}, mutants...) {
		none := m.file == ""
		if !none && match != nil && !match.MatchString(m.name) {
			continue
		}
		dir := t.TempDir()
		replace := map[string]string{}
		if !none {
			tried++
			src, err := os.ReadFile(filepath.Join(root, m.file))
			if err != nil {
				t.Fatal(err)
			}
			broken := filepath.Join(dir, "broken.go")
			if err := os.WriteFile(broken, []byte(strings.Replace(string(src), m.old, m.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			replace[filepath.Join(root, m.file)] = broken
		}
		overlay, _ := json.Marshal(map[string]map[string]string{"Replace": replace})
		list := filepath.Join(dir, "overlay.json")
		if err := os.WriteFile(list, overlay, 0o644); err != nil {
			t.Fatal(err)
		}
		bin := filepath.Join(dir, "torture.test")
		build := exec.Command("go", "test", "-c", "-overlay", list, "-o", bin, "./lib/torture")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s does not build: %v\n%s", m.name, err, out)
			continue
		}
		began := time.Now()
		run := exec.Command(bin, "-test.run", "^TestPromises$", "-test.v", "-test.timeout", "0", "-torture.stop", "-torture.shrink", "0",
			"-torture.duration", mutantTime.String(), "-torture.seed", "1")
		run.Dir = filepath.Join(root, "lib/torture")
		out, err := run.CombinedOutput()
		seen := regexp.MustCompile(`(?m)(safety|liveness|cut|manifest|ec-chop)[^\n]*violations`).FindString(string(out))
		switch {
		case none && err != nil:
			t.Errorf("the cutter breaks its promises without a mutant: %s", seen)
		case none:
		case err == nil:
			t.Errorf("not found in %v: %s", *mutantTime, m.name)
		case seen == "":
			t.Logf("found after %4.1f s: %s: it crashes", time.Since(began).Seconds(), m.name)
			found++
		default:
			t.Logf("found after %4.1f s: %s: %s", time.Since(began).Seconds(), m.name, seen)
			found++
		}
	}
	t.Logf("%d of %d mutants found", found, tried)
	if tried == 0 {
		t.Error("no mutant was tried")
	}
}
