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
	{"a counter that does not go on is no damage", "lib/chop/cutter.go",
		`	c.event(taint{from: from, to: to, pid: pid, kind: taintContinuity})`,
		`	_ = to`},
	{"discontinuity_indicator excuses any counter", "lib/ts/continuity.go",
		`	if flagged {
		return Jump
	}`,
		`	if flagged {
		return Ok
	}`},
	{"a packet with the counter of the one before is a duplicate, whatever it holds", "lib/ts/continuity.go",
		`s&ccDup == 0 && f == last`,
		`s&ccDup == 0 && (f == last || cc < 16)`},
	{"second copies go out", "lib/chop/cutter.go",
		`	if ev == ts.Duplicate {
		return false, nil`,
		`	if ev == ts.Duplicate {
		return true, nil`},
	{"PCRs go out", "lib/chop/cutter.go",
		`			(*ts.Packet)(c.cur.buf[len(c.cur.buf)-ts.PacketSize:]).TakePCR()`,
		`			_ = p`},
	{"packets without payload go out", "lib/chop/cutter.go",
		`		return ev == ts.Jump, nil`,
		`		return true, nil`},
	{"packets with transport_error_indicator are taken", "lib/chop/cutter.go",
		`	if p.TransportError() {
		c.dark++`,
		`	if p.TransportError() && p[3] == 0 {
		c.dark++`},
	{"unreadable packets hide nothing", "lib/chop/cutter.go",
		`		case c.dark-before.dark >= 16:`,
		`		case c.dark-before.dark >= 1<<40:`},
	{"lost sync is no damage", "lib/chop/cutter.go",
		`	c.event(taint{from: c.pos, to: c.pos + 1, pid: ts.PIDNull, kind: taintSync})`,
		`	_ = taintSync`},
	{"transport_scrambling_control is not looked at", "lib/chop/cutter.go",
		`	if p.Scrambled() || p.UnitStart() &&`,
		`	if p.UnitStart() &&`},
	{"PES_scrambling_control is not looked at", "lib/chop/cutter.go",
		`	if p.Scrambled() || p.UnitStart() && scrambledPES(p.Payload()) {`,
		`	if p.Scrambled() {`},
	{"the end of a chunk is certain at once", "lib/chop/settle.go",
		`	if c.closed > ch.seq {
		return true`,
		`	if true {
		return true`},
	{"nobody waits for audio and video after the end", "lib/chop/settle.go",
		`m.pos < end && m.at > at-dormant`,
		`m.pos < end && m.at > at+dormant`},
	{"the rest of audio is not waited for", "lib/chop/settle.go",
		`		if c.tail.of(p) && !c.ended {
			return`,
		`		if c.tail.of(p) && c.ended {
			return`},
	{"damage within the rest of audio is none", "lib/chop/tail.go",
		`		c.tail.part.end = max(c.tail.part.end, c.pos)`,
		`		_ = c.pos`},
	{"damage counts where it shows only", "lib/chop/settle.go",
		`	return t.from < end && (t.to > begin || t.from == begin)`,
		`	return t.to < end && t.to > begin`},
	{"damage is no reason", "lib/chop/settle.go",
		`				ch.broken = catalog.ReasonDamaged
			case ch.doubt`,
		`				ch.broken = ""
			case ch.doubt`},
	{"every start is certain", "lib/chop/cutter.go",
		`	if !c.proven(au) {`,
		`	if false {`},
	{"no start is certain", "lib/chop/cutter.go",
		`	if c.proof.rap || c.proof.step || !c.proof.au {
		return c.proof.rap`,
		`	if true {
		return false`},
	{"every access unit flagged random_access_indicator is a random access point", "lib/chop/cutter.go",
		`	rap := v == es.RandomAccess`,
		`	rap := v == es.RandomAccess || au.random`},
	{"a chunk starts at every random access point", "lib/chop/cutter.go",
		`(ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts))`,
		`(ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts) || c.prevRAP.pts != au.pts)`},
	{"a chunk starts 2 s after the one before, wherever that was", "lib/chop/cutter.go",
		`!c.grid.Same(au.pts, c.prevRAP.pts))`,
		`au.pts.Sub(ch.start) >= 2*clock.Hz || au.pts.Sub(ch.start) < 0)`},
	{"a PMT takes effect where it is heard", "lib/chop/cutter.go",
		`pr.inForce && pid == pr.cutPID && c.cur != nil && c.cur.chunk != nil {`,
		`pr.inForce && pid == pr.cutPID && c.cur == nil {
		_ = codec`},
	{"a PMT never changes", "lib/chop/program.go",
		`	p.next = &pmt
`,
		`	if !p.inForce {
		p.next = &pmt
	}
`},
	{"a PMT that does not apply yet is taken", "lib/chop/program.go",
		`	if err != nil || h.Next {`,
		`	if err != nil {`},
	{"a VCT that does not apply yet is taken", "lib/psi/vct.go",
		`	if t.Next || program == 0`,
		`	if program == 0`},
	{"an SDT that does not apply yet is taken", "lib/psi/sdt.go",
		`	if t.Other || t.Next {`,
		`	if t.Other {`},
	{"channels of other transport streams are taken", "lib/psi/vct.go",
		`c.Program == program && c.TSID == t.TSID`,
		`c.Program == program`},
	{"original_network_ids of nobody name a broadcast", "lib/chop/program.go",
		`		return id.ONID != 0 && id.ONID < 0xff00`,
		`		return true`},
	{"tables are read from the PIDs of streams", "lib/chop/program.go",
		`		case role&roleSI != 0 && role&roleES == 0:`,
		`		case role&roleSI != 0:`},
	{"an STT of any protocol is read", "lib/psi/section.go",
		`	case b[0] != 0:`,
		`	case b[0] == 99:`},
	{"a PAT is whole after its first section", "lib/chop/program.go",
		`	if !whole {
		return
	}
	if !changed && p.patKnown {`,
		`	_ = whole
	if !changed && p.patKnown {`},
	{"PMT versions go out", "lib/chop/program.go",
		`	pmt.Version, pmt.Next = 0, false`,
		`	pmt.Next = false`},
	{"the transport_stream_id of the PAT goes out", "lib/chop/emit.go",
		`	if ch.identity.Known() {
		return ch.identity.TSID`,
		`	if false {
		return ch.identity.TSID`},
	{"group ids have no tag", "lib/chop/emit.go",
		`	e.group = clock.GroupID(ch.bucket, tag)`,
		`	e.group = clock.GroupID(ch.bucket, 0)`},
	{"a time that is off by far counts", "lib/chop/timebase.go",
		`const outlier = 5 * time.Second`,
		`const outlier = 5000 * time.Hour`},
	{"the time of a clock that was left counts", "lib/chop/timebase.go",
		`	if flagged || d < 0 || d > trustedStep {`,
		`	if false {`},
	{"the start code is looked for in the first packet only", "lib/chop/cutter.go",
		`	if v := c.au.finder.Feed(b); v != es.Undecided {`,
		`	if v := c.au.finder.End(); v != es.Undecided {`},
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
	except, most := "", "0" // seeds that fail anyway, and how many seeds are known to be good or not
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
		args := []string{"-test.run", "^TestPromises$", "-test.v", "-test.timeout", "0", "-torture.shrink", "0", "-torture.duration", mutantTime.String(), "-torture.seed", "1"}
		if !none {
			args = append(args, "-torture.stop", "-torture.except", except, "-torture.most", most)
		}
		run := exec.Command(bin, args...)
		run.Dir = filepath.Join(root, "lib/torture")
		out, err := run.CombinedOutput()
		seen := regexp.MustCompile(`(?m)(safety|liveness|cut|manifest|ec-chop)[^\n]*violations`).FindString(string(out))
		if none {
			if n := regexp.MustCompile(`(\d+) combinations from`).FindSubmatch(out); n != nil {
				most = string(n[1])
			}
			for _, n := range regexp.MustCompile(`(?m)seed (\d+), `).FindAllSubmatch(out, -1) {
				except += string(n[1]) + ","
			}
		}
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
