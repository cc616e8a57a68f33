package torture

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	mutantTime = flag.Duration("torture.mutants", 0, "breaks the rules of lib/chop one at a time, and looks so long for each")
	only       = flag.String("torture.mutant", "", "only mutants whose name matches this expression")
)

// mutant breaks one rule of the cutter: old, which occurs once in the file, becomes new. The hint sets the habits under which the rule
// matters, of the stream and, behind a slash, of the receivers that lose packets, so that it need not be waited for.
type mutant struct {
	name, hint, file, old, new string
}

// mutants are looked for by TestMutants. A rule that no mutant breaks is a rule that this test may be blind to.
var mutants = []mutant{
	{"a counter that does not go on is no damage", "", "lib/chop/cutter.go",
		`	c.event(t)
	if pid == c.prog.cutPID`,
		`	if pid == c.prog.cutPID`},
	{"discontinuity_indicator excuses any counter", "disc=3 / loss=9 of=2", "lib/ts/continuity.go",
		`	if flagged {
		return Jump
	}`,
		`	if flagged {
		return Ok
	}`},
	{"a packet with the counter of the one before is a duplicate, whatever it holds", "/ sixteen=0 of=1 burst=39 loss=9", "lib/ts/continuity.go",
		`c.last[pid] != nil && p.repeats(c.last[pid])`,
		`c.last[pid] != nil`},
	{"behind a packet without payload that announces a jump, others without payload count no more", "len=6 fps=5 pcr=2 pcrms=60 step=1 disc=0 illegal=0 scrambled=0 / loss=5 sixteen=1 near=1", "lib/ts/continuity.go",
		`if s&ccBare == 0 || cc == s&0x0f {`,
		`if ccBare > 0 || cc == s&0x0f {`},
	{"second copies go out", "dup=20", "lib/chop/cutter.go",
		`	if ev == ts.Duplicate {
		return false, nil`,
		`	if ev == ts.Duplicate {
		return true, nil`},
	{"PCRs go out", "dup=200 pcr=0 / dupdrop=1", "lib/chop/cutter.go",
		`		(*ts.Packet)(b[len(b)-ts.PacketSize:]).TakePCR()`,
		`		_ = p`},
	{"packets of other PIDs stand in order of arrival", "dup=200 apart=1 / dupdrop=1", "lib/chop/part.go",
		`			case at == pid:
				b = append(b, p[:]...)
			case at > pid:`,
		`			case pid == ts.PIDPAT:
				b = append(b, p[:]...)
			case pid == ts.PIDNull:`},
	{"packets without payload go out", "stuff=2", "lib/chop/cutter.go",
		`		if ev != ts.Jump {
			return false, nil
		}`,
		`		if ev != ts.Jump {
			return true, nil
		}`},
	{"packets with transport_error_indicator are taken", "/ tei=9", "lib/chop/cutter.go",
		`	if p.TransportError() {
		c.dark++`,
		`	if p.TransportError() && p[3] == 0 {
		c.dark++`},
	{"unreadable packets hide nothing", "/ sixteen=2 loss=9", "lib/chop/cutter.go",
		`	case c.dark-before.dark >= 16:
		c.event(`,
		`	case c.dark-before.dark >= 1<<40:
		c.event(`},
	{"lost sync is no damage", "cbr=1 / cut=60 loss=0 tei=0", "lib/chop/cutter.go",
		`	c.event(taint{from: c.pos - 1, to: c.pos + 1, pid: ts.PIDNull, kind: taintSync})`,
		`	_ = taintSync`},
	{"transport_scrambling_control is not looked at", "scrambled=1", "lib/chop/cutter.go",
		`	if p.Scrambled() || p.UnitStart() &&`,
		`	if p.UnitStart() &&`},
	{"PES_scrambling_control is not looked at", "scrambled=2", "lib/chop/cutter.go",
		`	if p.Scrambled() || p.UnitStart() && scrambledPES(p.Payload()) {`,
		`	if p.Scrambled() {`},
	{"the end of a chunk is certain at once", "audio=0 acodec=2 adead=0 astop=0 / of=2 loss=3 burst=120 near=1", "lib/chop/settle.go",
		`	if c.sure < end {
		return false`,
		`	if true {
		return true`},
	{"nobody waits for audio and video after the end", "audio=0 acodec=2 adead=0 astop=0 / of=2 loss=3 burst=120 near=1", "lib/chop/settle.go",
		`(m.pos < end || m.pos > c.sure) && m.at > at-dormant`,
		`(m.pos < end || m.pos > c.sure) && m.at > at+dormant`},
	{"the rest of audio is not waited for", "", "lib/chop/settle.go",
		`		if c.tail.of(p) && !c.ended {
			return`,
		`		if c.tail.of(p) && c.ended {
			return`},
	{"damage within the rest of audio is none", "len=0 audio=2 aframes=6 gop=0 illegal=0 scrambled=0 / of=2 near=1 loss=9 burst=0", "lib/chop/tail.go",
		`		c.tail.part.end = max(c.tail.part.end, c.pos)`,
		`		_ = c.pos`},
	{"events far apart are joined", "len=14 codec=2 step=2 atsc=0 tot=0 sparse=15 every=6 disc=0 cbr=0 dup=0 programs=0 illegal=0 scrambled=0 ident=0 gop=0 time=0 clock=0 / of=1 loss=3 burst=0 sixteen=0 near=1 tei=0 cut=0 part=0", "lib/chop/settle.go",
		`t.from <= e.to+64 && e.from <= t.to+64`,
		`t.from <= e.to+64`},
	{"damage counts where it shows only", "", "lib/chop/settle.go",
		`	return t.from < end && (t.to > begin || t.from == begin)`,
		`	return t.to < end && t.to > begin`},
	{"damage is no reason", "", "lib/chop/settle.go",
		`				ch.broken = catalog.ReasonDamaged
			case ch.doubt`,
		`				ch.broken = ""
			case ch.doubt`},
	{"every start is certain", "", "lib/chop/unit.go",
		`	if !c.proven(au) {`,
		`	if false {`},
	{"no start is certain", "", "lib/chop/unit.go",
		`	if c.proof.rap || c.proof.step || !c.proof.au {
		return c.proof.rap`,
		`	if true {
		return false`},
	{"every access unit flagged random_access_indicator is a random access point", "", "lib/chop/unit.go",
		`	rap := v == es.RandomAccess`,
		`	rap := v == es.RandomAccess || au.random`},
	{"a chunk starts at every random access point", "", "lib/chop/unit.go",
		`(ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts))`,
		`(ch == nil || !c.prevRAP.known || !c.grid.Same(au.pts, c.prevRAP.pts) || c.prevRAP.pts != au.pts)`},
	{"a chunk starts 2 s after the one before, wherever that was", "", "lib/chop/unit.go",
		`!c.grid.Same(au.pts, c.prevRAP.pts))`,
		`au.pts.Sub(ch.start) >= 2*clock.Hz || au.pts.Sub(ch.start) < 0)`},
	{"a PMT takes effect where it is heard", "pmtchange=2 / loss=9", "lib/chop/heard.go",
		`pr.inForce && pid == pr.cutPID {`,
		`pr.inForce && pid == pr.cutPID && c.cur == nil {`},
	{"a PMT ends the access unit that may begin the first chunk", "len=4 codec=1 fps=0 gop=2 pes=3 audio=3 sparse=0 programs=0 cbr=0 dup=0 stuff=0 pmtchange=2 tables=80 time=0 timejit=0 illegal=0 scrambled=0 / loss=0 tei=0 cut=0", "lib/chop/heard.go",
		`pr.inForce && pid == pr.cutPID {`,
		`pr.inForce && pid == pr.cutPID && (c.cur == nil || c.cur.chunk != nil) {`},
	{"a PMT never changes", "pmtchange=2", "lib/chop/program.go",
		`	p.next, p.fresh = &pmt, true
`,
		`	if !p.inForce {
		p.next, p.fresh = &pmt, true
	}
`},
	{"a PMT that does not apply yet is taken", "trap=2", "lib/chop/program.go",
		`	if err != nil || h.Next {`,
		`	if err != nil {`},
	{"a VCT that does not apply yet is taken", "trap=2 atsc=1", "lib/psi/vct.go",
		`	if t.Next || program == 0`,
		`	if program == 0`},
	{"an SDT that does not apply yet is taken", "trap=2 atsc=0", "lib/psi/sdt.go",
		`	if t.Other || t.Next {`,
		`	if t.Other {`},
	{"channels of other transport streams are taken", "trap=1 atsc=1", "lib/psi/vct.go",
		`c.Program == program && c.TSID == t.TSID`,
		`c.Program == program`},
	{"original_network_ids of nobody name a broadcast", "ident=2 atsc=0", "lib/chop/program.go",
		`		return id.ONID != 0 && id.ONID < 0xff00`,
		`		return true`},
	{"tables are read from the PIDs of streams", "trap=8", "lib/chop/program.go",
		`		case role&roleSI != 0 && role&roleES == 0:`,
		`		case role&roleSI != 0:`},
	{"an STT of any protocol is read", "trap=4 atsc=1", "lib/psi/section.go",
		`	case b[0] != 0:`,
		`	case b[0] == 99:`},
	{"a PAT is whole after its first section", "programs=2 patsec=1", "lib/chop/program.go",
		`	if !whole {
		return
	}
	jumped :=`,
		`	_ = whole
	jumped :=`},
	{"PMT versions go out", "pmtchange=1 / remake=1", "lib/chop/program.go",
		`	pmt.Version, pmt.Next = 0, false`,
		`	pmt.Next = false`},
	{"the transport_stream_id of the PAT goes out", "/ remake=2", "lib/chop/emit.go",
		`	if ch.identity.Known() {
		return ch.identity.TSID`,
		`	if false {
		return ch.identity.TSID`},
	{"group ids have no tag", "step=3", "lib/chop/emit.go",
		`	e.group = clock.GroupID(ch.bucket, tag)`,
		`	e.group = clock.GroupID(ch.bucket, 0)`},
	{"a time that is off by far counts", "illegal=3 time=0", "lib/chop/timebase.go",
		`const outlier = 5 * time.Second`,
		`const outlier = 5000 * time.Hour`},
	{"the time of a clock that was left counts", "step=1", "lib/chop/timebase.go",
		`	if flagged || jump || d < 0 || d > trustedStep {`,
		`	if false {`},
	{"where every PCR announces a step, none is seen", "disc=1 step=2 clock=1 time=4 illegal=0 scrambled=0", "lib/chop/timebase.go",
		`	if flagged || jump || d < 0 || d > trustedStep {`,
		`	if flagged || d < 0 || d > trustedStep {`},
	{"a table before a silence is of another clock", "pcr=1 time=8 illegal=0 scrambled=0 / of=4 loss=3 burst=39", "lib/chop/heard.go",
		`		if c.base.run == before || before == nil {`,
		`		if before != nil && c.stepPos != c.pos {`},
	{"where counters start anew, a DTS that steps proves no start", "pcr=3 pes=0 step=2 stepgop=0 gop=2 time=0 disc=0 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`		c.proof.anew = true`,
		`		c.proof.anew = false`},
	{"where every PCR announces a step, none shows where counters start anew", "sparse=1 every=1 disc=1 clock=1 step=2 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`announced && c.habit && !anew && p.UnitStart() {`,
		`announced && c.habit && c.pos < 0 {`},
	{"where every PCR announces a step, a loss counts as one", "disc=1 step=1 clock=2 stepgop=1 illegal=0 scrambled=0 / of=1 near=1 loss=2 burst=39", "lib/chop/cutter.go",
		`anew && !c.habit {`,
		`anew {`},
	{"the start code is looked for in the first packet only", "sets=1 rai=1", "lib/chop/unit.go",
		`	if v := c.au.finder.Feed(b); v != es.Undecided && c.au.active {`,
		`	if v := c.au.finder.End(); v != es.Undecided && c.au.active {`},
	// Tables that move the program, its streams or its name.
	{"the PCR PID of a new PMT counts from the next chunk on", "pcr=3 pids=8 illegal=0 scrambled=0", "lib/chop/program.go",
		`	if p.next.PCRPID != ts.PIDNull {
		p.roles[p.next.PCRPID] |= rolePCR
	}`,
		`	if p.pmt.PCRPID != ts.PIDNull {
		p.roles[p.pmt.PCRPID] |= rolePCR
	}`},
	{"what audio ends with depends on the PMT of the next chunk", "pids=17 tables=480 aframes=6 audio=2 illegal=0 scrambled=0 / of=5 loss=9 near=1", "lib/chop/tail.go",
		`	c.tail.left, c.prog.left = c.prog.left, nil`,
		`	c.tail.left, c.prog.left = nil, nil`},
	{"what is heard while a chunk waits changes its identity", "atsc=0 ident=0 tot=0 tsid=1 pids=0 streams=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`		c.own()`,
		`		_ = c.own`},
	{"a program that returns to the PAT has its clock still", "number=2 programs=1 step=4 pids=24 pcr=3 clock=2 time=4 timejit=0 ident=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`			c.base.begin()
`,
		``},
	{"times stay that no longer agree with those heard since", "step=4 clock=0 disc=0 time=0 timejit=0 len=17 ident=0 illegal=0 scrambled=0 / near=1 loss=9 of=1 burst=39", "lib/chop/timebase.go",
		`agree(ref, list[n-1]) && agree(ref, list[n-2])`,
		`n > heard`},
	{"a program that the PAT does not list keeps its identity", "number=2 programs=1 ident=0 illegal=0 scrambled=0", "lib/chop/program.go",
		`		p.disown(func(*Identity) bool { return true })`,
		`		_ = p.gone`},
	{"the only program of the PAT may not change its number", "number=1 programs=0 ident=0 illegal=0 scrambled=0", "lib/chop/program.go",
		`	if i < 0 && p.cfg.Program == 0 && len(programs) == 1 {`,
		`	if i < -1 {`},
	{"the PMT of another program number is the one before", "number=2 programs=0 pmtfirst=1 tables=480 ident=0 illegal=0 scrambled=0 / of=5 near=1 loss=9", "lib/chop/heard.go",
		`			c.heard[pr.pmtPID] = m`,
		`			_ = m`},
	{"a PMT of another codec that was lost damages only what begins then", "streams=2 tables=480 illegal=0 scrambled=0 / of=5 loss=9 near=1", "lib/chop/heard.go",
		`m.dark != tableMoved && c.prog.recuts()`,
		`m.dark != tableMoved && c.prog.next == nil`},
	{"a PMT that changes and changes back unheard has not changed", "streams=2 tables=180 illegal=0 scrambled=0 / of=5 loss=9 burst=39", "lib/chop/program.go",
		`p.pmtSkips = true, skips(p.pmtSection[5], section[5])`,
		`p.pmtSkips = true, false`},
	{"a PAT that changes and changes back unheard has not changed", "pmtpid=2 tables=120 illegal=0 scrambled=0 / of=5 loss=9 burst=39", "lib/chop/program.go",
		`	jumped := p.patKnown && skips(p.patVersion, section[5])`,
		`	jumped := p.patKnown && skips(p.patVersion, p.patVersion)`},
	{"decoding times of another PID go on from those before", "streams=4 clock=2 ident=0 step=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`	c.lastPos = 0 //`,
		`	_ = c.lastPos //`},
	{"a chunk that a new PMT ends has not ended", "streams=4 adead=1 fps=6 ident=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`		c.closed = c.cur.chunk.seq`,
		`		_ = c.closed`},
	{"the rest of a chunk keeps its name, whatever the PAT says since", "number=1 programs=1 pids=19 streams=0 codec=0 sparse=1 every=0 ident=0 pcr=3 step=0 clock=0 illegal=0 scrambled=0 tot=1 time=0 / part=1 join=3100 loss=0 tei=0 cut=0", "lib/chop/settle.go",
		`	case ch.named && ch.name.identity != c.identified(ch):`,
		`	case ch.named && c.pos < 0:`},
	{"damage that shows later is not told of parts", "streams=4 sparse=8 every=2 ident=0 illegal=0 scrambled=0 / of=3 loss=9 burst=0 part=1", "lib/chop/settle.go",
		`			if ch.promoted {`,
		`			if d.promote {`},
	// What was found by the torture test itself.
	{"the time of a first TDT counts at once, whatever a TOT may say", "atsc=0 illegal=2 time=4 tables=480 / of=5 loss=9 burst=14", "lib/chop/naming.go",
		`	case c.totHeard, !c.alone():`,
		`	case c.totHeard:`},
	{"two TDT in succession show that there is no TOT", "atsc=0 tot=2 illegal=2 time=1", "lib/chop/naming.go",
		`c.base.now-c.noTOT >= totPatience)`,
		`true)`},
	{"an input that has ended had no TOT, whatever it lost", "atsc=0 tot=2 illegal=2 time=0 / of=6 loss=30 burst=0", "lib/chop/naming.go",
		`c.ended && !c.totLost ||`,
		`c.ended ||`},
	{"a jump of the counter that a packet without payload announces goes out", "disc=5 step=2 sparse=1 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`	case c.cur == nil || c.cur.chunk == nil || c.cur.chunk.begin >= to:`,
		`	case c.cur == nil || c.cur.chunk == nil:`},
	{"a packet without payload goes to the access unit that may begin the next chunk", "disc=5 step=2 sparse=12 every=1 pes=3 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`	case pid == c.prog.cutPID || !c.au.active && !c.au.begins || c.au.pos < to:`,
		`	default:`},
	{"a step that is shorter than PCRs may lie apart is none", "step=2 sparse=1 every=1 clock=1 disc=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`		if announced { // a step`,
		`		if announced && c.pos < 0 { // a step`},
	{"a time that was heard behind a loss counts as one before it", "len=17 atsc=1 time=4 timejit=100 clock=2 step=0 pcrms=75 disc=0 illegal=0 scrambled=0 pmtpid=0 pids=0 streams=0 tsid=0 onid=0 number=0 / of=1 loss=1 burst=0 tei=0 cut=0", "lib/chop/heard.go",
		`		c.doubtNames() // times`,
		`		c.doubt() // times`},
	{"nobody waits for a TOT, or another TDT", "len=0 atsc=0 tot=0 time=8 illegal=0 scrambled=0", "lib/chop/settle.go",
		`			if !ch.named && c.doubtful(ch) {`,
		`			if false {`},
	{"TDT goes before TOT", "atsc=0 illegal=2 time=4 / of=6 loss=9", "lib/chop/naming.go",
		`		return [...]table{tableTOT, tableOther}`,
		`		return [...]table{tableTDT, tableTOT}`},
	{"two TDT are in succession where packets between them were lost", "atsc=0 illegal=2 time=0 / of=6 loss=30 burst=0", "lib/chop/heard.go",
		`	if pid == ts.PIDTDT && lost && !c.alone() {`,
		`	if pid == ts.PIDTDT && lost && c.pos < 0 {`},
	{"no step hides", "clock=2 step=4 illegal=0 scrambled=0 / near=1 loss=9", "lib/chop/timebase.go",
		`	if !known || others {`,
		`	if others = false; others {`},
	{"what was heard before a hidden step shows nothing", "len=0 atsc=1 clock=3 illegal=3 time=1 timejit=0 pcr=1 pcrms=75 gop=1 step=0 sparse=0 programs=0 cbr=0 dup=0 pmtchange=0 disc=0 ident=0 / join=0 of=4 loss=5 burst=14 tei=0 cut=0 sixteen=0", "lib/chop/timebase.go",
		`		t.run = t.run.doubted()`,
		`		t.run = new(run)`},
	{"a step hides only where packets with payload were lost", "clock=2 step=4 pcr=1 illegal=0 scrambled=0 / of=4 near=1 loss=9 burst=39", "lib/chop/heard.go",
		`	case c.base.leaps(pcr, flagged) && c.pcrHeard:`,
		`	case c.pos < 0:`},
	{"the chunk in which a step may hide keeps its name", "clock=2 step=4 pcr=1 illegal=0 scrambled=0 / of=4 near=1 loss=9 burst=39", "lib/chop/heard.go",
		`	if c.base.doubt() {`,
		`	if c.base.doubt() && c.pos < 0 {`},
	{"a chunk has a name before a PCR of it was heard", "clock=2 step=4 pcr=1 illegal=0 scrambled=0 / of=4 near=1 loss=9 burst=39", "lib/chop/naming.go",
		`	if ok && (ch.early || c.clockPos < ch.begin) && !steady(ref) {`,
		`	if ok && ch.early && !steady(ref) {`},
	{"before the first PCR no step hides", "len=0 atsc=1 codec=1 fps=5 audio=3 sparse=0 pcr=1 pcrms=75 pcrirr=0 cbr=0 stuff=0 dup=0 disc=0 programs=0 pmtchange=0 tables=80 time=0 timejit=0 clock=2 step=3 ident=0 illegal=0 scrambled=0 / join=4000 of=4 near=1 loss=2 burst=30 sixteen=0 tei=0 cut=0 part=0", "lib/chop/naming.go",
		`(ch.early || c.clockPos < ch.begin)`,
		`c.clockPos < ch.begin`},
	{"decoding times show no step", "len=6 atsc=1 clock=2 step=3 pcr=3 pcrms=75 gop=3 sparse=0 programs=0 cbr=0 dup=0 pmtchange=0 time=4 timejit=0 disc=0 ident=0 illegal=0 scrambled=0 / join=0 of=4 near=1 loss=2 burst=39 tei=0 cut=0 sixteen=0", "lib/chop/unit.go",
		`		if d < 0 && c.jumpPos < c.lastPos {`,
		`		if false {`},
	{"a step below 500 ms does not show in decoding times", "len=6 clock=2 step=3 pcr=1 pcrms=75 gop=3 sparse=0 programs=0 cbr=0 dup=0 pmtchange=0 time=1 tot=1 timejit=0 disc=0 ident=0 illegal=0 scrambled=0 / join=0 of=4 near=1 loss=2 burst=39 tei=0 cut=0 sixteen=0", "lib/chop/unit.go",
		`		if d < 0 && c.jumpPos < c.lastPos {`,
		`		if d < -stepBack && c.jumpPos < c.lastPos {`},
	{"where every PCR announces a step, a loss of minutes carries the offset over", "len=386 codec=3 audio=0 aframes=6 sparse=0 pcr=3 pcrms=75 cbr=0 disc=1 programs=0 tables=480 atsc=0 tot=1 time=20 timejit=0 clock=3 step=0 illegal=0 scrambled=0 / join=0 of=0 loss=1 burst=16000 near=0 sixteen=0 tei=0 cut=0", "lib/chop/timebase.go",
		`flagged && !gap && !every, kinds)`,
		`flagged && !gap, kinds)`},
	{"a step carries the offset over near an edge, too", "clock=2 step=1 pcr=3 pcrms=75 time=8 timejit=0 gop=0 illegal=0 scrambled=0 / of=4 near=1 loss=9 burst=8", "lib/chop/timebase.go",
		`		next.hasSeed = steady(next.carry)`,
		`		next.hasSeed = true`},
	{"a table counts beyond the loss behind it", "clock=2 step=4 pcr=1 illegal=0 scrambled=0 / of=4 near=1 loss=9 burst=39", "lib/chop/heard.go",
		`!t.doubt && !standsIn || steady(ref) {`,
		`!standsIn || steady(ref) {`},
	{"decoding times stand in for PCRs that others hear, near an edge too", "len=0 fps=5 audio=3 sparse=0 pcr=1 pcrms=75 cbr=0 dup=0 disc=0 programs=0 pmtchange=0 time=1 tot=1 timejit=0 clock=2 step=0 ident=0 illegal=0 scrambled=0 / join=0 of=4 near=1 loss=2 burst=120 sixteen=0 tei=0 cut=0", "lib/chop/heard.go",
		`	standsIn := !c.pcrHeard && c.prog.pmt.PCRPID != ts.PIDNull`,
		`	standsIn := c.pos < 0`},
	{"a counter of PAT or PMT that jumps and says so is no loss", "disc=4 pmtchange=2 tables=180 illegal=0 scrambled=0 / of=5 near=1 loss=9 burst=4", "lib/chop/heard.go",
		`		lost = ev == ts.Gap || ev == ts.Jump
	}`,
		`		lost = ev == ts.Gap
	}`},
	{"where PAT or PMT changed is certain", "pmtchange=2 tables=480 illegal=0 scrambled=0 / of=5 near=1 loss=9 burst=4", "lib/chop/heard.go",
		`	if changed && c.tableLost(pid) {`,
		`	if false && c.tableLost(pid) {`},
	{"a chunk keeps packets of the PMT to come", "pmtchange=2 illegal=0 scrambled=0", "lib/chop/unit.go",
		`; c.prog.roles[p.PID()]&roleKeep != 0 {`,
		`; c.prog.roles[p.PID()]&(roleKeep|roleNext) != 0 {`},
	{"packets of the PMT to come are not kept for the access unit that may begin its chunk", "len=0 pmtchange=2 pes=2 gop=1 codec=0 illegal=0 scrambled=0 tables=0 time=0", "lib/chop/cutter.go",
		`	return role&roleNext != 0 && (c.au.active || c.au.begins)`,
		`	return role&roleNext != 0 && c.pos < 0`},
	{"an access unit that lost packets is judged by the rest", "/ of=1 near=1 loss=9", "lib/chop/cutter.go",
		`		c.dropUnit()`,
		`		// what is left of it is looked at`},
	{"what commences behind a random access point in its PES packet is not followed", "len=9 pes=3 gop=0 fps=1 codec=0 open=3 reorder=2 rai=0 illegal=0 scrambled=0", "lib/es/finder.go",
		`f.verdict == Undecided || f.several && codecs[f.codec].how == byStartCode`,
		`f.verdict == Undecided`},
	{"a start code is whole if all of its bytes are there, whatever it starts", "len=17 pes=3 gop=1 fps=3 codec=2 rai=0 audio=3 sparse=0 programs=0 cbr=0 dup=0 stuff=0 illegal=0 scrambled=0 step=0 tables=480 / loss=0 tei=0 cut=0", "lib/es/finder.go",
		`(f.zeros > 0 || f.state == inHead)`,
		`(f.zeros > 0)`},
	{"the rest of an access unit is one where nobody heard it begin", "pes=3 gop=0 fps=1 codec=2 rai=0", "lib/chop/unit.go",
		`case au.known && au.torn, !au.known && !au.random:`,
		`case au.known && au.torn:`},
	{"packets of the PMT to come are kept where their access unit is lost", "len=0 pmtchange=2 pes=2 scrambled=1 illegal=0", "lib/chop/unit.go",
		`		c.copyHeld()
		c.window(au, false)`,
		`		c.copyHeld()`},
	{"a counter that starts anew where the clock steps holds up chunks before", "step=2 sparse=3 every=1 astop=1 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`to: c.stepFrom, pid: pid, kind: taintContinuity, late: true}`,
		`to: c.stepFrom, pid: pid, kind: taintContinuity}`},
	{"a counter that starts anew where the program has gone damages chunks before", "number=1 programs=1 pids=19 step=2 sparse=1 every=9 len=17 tot=0 atsc=0 ident=0 illegal=0 scrambled=0", "lib/chop/heard.go",
		`		c.stepPos, c.stepFrom, c.stepTo = c.pos, c.whole, 0
		if !c.absent`,
		`		if !c.absent`},
	{"what was heard before a loss proves what comes after it", "/ of=1 near=1 loss=9 burst=14", "lib/chop/cutter.go",
		`		c.proof = proof{began: true}
		c.dropUnit`,
		`		c.dropUnit`},
	{"an access unit at any time before proves a start", "/ of=1 near=1 loss=9 burst=14", "lib/chop/unit.go",
		`	return d > max(c.reorder.most, au.pts.Sub(au.dts)) && d < clock.Wrap/4`,
		`	return d > -clock.Ticks(c.grid) && d < clock.Wrap/4`},
	{"what proves a start has the reordering of the start", "reorder=2 open=2 gop=4 illegal=0 scrambled=0 / of=1 near=1 loss=9", "lib/chop/unit.go",
		`	return d > max(c.reorder.most, au.pts.Sub(au.dts)) && d < clock.Wrap/4`,
		`	return d > 0 && d < clock.Wrap/4`},
	{"a loss ends what is known of the reordering", "len=4 codec=0 fps=1 gop=0 reorder=5 open=1 sets=0 rai=0 pes=2 audio=3 sparse=0 programs=0 dup=0 step=0 ident=0 illegal=0 scrambled=0 cbr=0 pcr=0 pcrms=75 af=0 pmtchange=0 tables=480 stuff=0 / join=0 of=1 near=1 sixteen=0 loss=9 burst=0 tei=0 cut=0 dupadd=0 dupdrop=0 part=0 read=0 pack=0", "lib/chop/cutter.go",
		`		c.proof = proof{began: true}
		c.dropUnit`,
		`		c.proof, c.reorder.most = proof{began: true}, 0
		c.dropUnit`},
	{"few access units show the reordering", "len=0 atsc=1 codec=0 fps=1 gop=0 reorder=5 open=1 sets=0 pes=2 audio=3 sparse=0 pcr=0 cbr=0 stuff=0 dup=0 programs=0 pmtchange=0 tables=0 time=0 step=0 ident=0 illegal=0 scrambled=0 / loss=0 tei=0 cut=0", "lib/chop/unit.go",
		`const manyUnits = 32`,
		`const manyUnits = 1`},
	{"decoding times that step start no chunk", "len=0 step=3 gop=3 stepgop=0 time=0 illegal=0 scrambled=0", "lib/chop/unit.go",
		`		if stepped(d) {`,
		`		if d != d {`},
	{"a loss that showed before the next PCR came is none of the clock's", "len=4 codec=1 fps=0 gop=0 pes=0 audio=3 sparse=0 pcr=2 pcrms=75 pcrirr=0 disc=1 time=8 atsc=1 clock=0 step=0 illegal=0 scrambled=0 / join=8500 of=1 loss=1 burst=39 near=0 sixteen=0 tei=0 cut=0", "lib/chop/cutter.go",
		`c.clockGap || c.dark > c.clockDark`,
		`ev == ts.Gap || c.dark > c.clockDark`},
	{"times are tied to the last PCR", "clock=2 pcrms=75 time=0 timejit=0 step=0 / of=4 loss=9 burst=39", "lib/chop/heard.go",
		`		c.told = append(c.told, said{kind, utc, !c.base.have || c.untold})`,
		`		if c.base.have {
			c.base.run.add(kind, clock.Reference{UTC: utc, PCR: c.base.pcr})
		}`},
	{"group ids of catalogs have no tag", "pmtchange=3 trap=16", "lib/chop/emit.go",
		`	tag := binary.BigEndian.Uint16(sum[:])
`,
		`	tag := binary.BigEndian.Uint16(sum[:]) * 0
`},
	{"audio that has begun before a chunk is of that chunk", "audio=0", "lib/chop/tail.go",
		`	last.others = appendBare(last.others, p)
`,
		`	if last.end < 1<<60 {
		return false
	}
`},
	{"PAT and PMT are not waited for", "pmtchange=2 tables=480 / of=5 near=1 loss=9", "lib/chop/settle.go",
		`	if !c.tablesSince(ch) && c.base.now-ch.beganAt < dormant && (c.repeats || !c.ended || !followed) {`,
		`	if false {`},
	{"PAT and PMT that stay away for 10 s have not changed", "pmtchange=2 tables=240 / of=5 loss=9 burst=39", "lib/chop/settle.go",
		`			case c.repeats && c.base.now-ch.beganAt >= dormant && !c.tablesSince(ch):`,
		`			case false:`},
	{"a PES packet of the clock before ends where the new one begins", "len=1 aframes=6 astop=1 step=2 audio=0 illegal=0 scrambled=0", "lib/chop/cutter.go",
		`c.stepPos > c.began[pid]`,
		`c.stepPos > from`},
	{"a PES packet that began before the first chunk behind a step is of the clock before", "len=4 step=2 stepgop=0 disc=3 pcr=1 codec=1 fps=2 audio=0 aframes=0 acodec=2 gop=1 sparse=0 programs=0 cbr=0 dup=0 stuff=0 af=0 clock=0 time=0 illegal=0 scrambled=0 ident=0 / join=0 of=2 near=1 loss=5 burst=14 sixteen=0 cut=0 tei=0", "lib/chop/cutter.go",
		`c.stepPos > c.began[pid]`,
		`(c.stepPos > c.began[pid] || c.stepTo > c.began[pid])`},
	{"a counter that starts anew may hide a step", "len=0 atsc=1 step=2 disc=0 pcr=3 pcrms=20 pcrirr=0 codec=3 audio=0 aframes=16 acodec=1 astop=0 sparse=0 programs=0 cbr=0 dup=0 stuff=0 af=0 clock=0 time=2 timejit=0 illegal=0 scrambled=0 ident=0 trap=0 / join=0 loss=1 burst=0 sixteen=0 cut=0 tei=0", "lib/chop/cutter.go",
		`	if !anew {
		c.doubt()`,
		`	if !anew || from >= c.stepPos {
		c.doubt()`},
	{"a counter that starts anew is damage to the chunk that a pending access unit begins", "len=0 step=2 stepgop=0 disc=0 pcr=0 pcrms=75 codec=1 fps=0 gop=0 pes=2 audio=2 aframes=6 acodec=0 astop=0 sparse=0 programs=0 cbr=0 dup=0 stuff=0 af=0 clock=0 time=0 timejit=0 illegal=0 scrambled=0 ident=0 trap=0 / join=0 loss=1 burst=0 sixteen=0 cut=0 tei=0", "lib/chop/cutter.go",
		`			t.to = c.au.pos - 1`,
		`			t.to = c.pos`},
	{"counters are followed from the PMT on only", "tables=480 / of=1 loss=9", "lib/chop/cutter.go",
		`			c.unlisted(p, pid)
`,
		`			_ = pid
`},
	{"damage that shows later is not told", "sparse=1 every=4 / of=3 loss=9", "lib/chop/cutter.go",
		`	c.tellLate(t)
`,
		``},
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
		if some := Random(1); some.Hint(m.hint) != nil {
			t.Errorf("%s: no habits: %s", m.name, m.hint)
		}
		if m.old == m.new || seen[m.name] {
			t.Errorf("%s: changes nothing, or its name is not its own", m.name)
		}
		seen[m.name] = true
	}
}

// TestMutants shows that TestPromises sees: each broken rule breaks a promise that the cutter as it is keeps on the same combination.
func TestMutants(t *testing.T) {
	if *mutantTime == 0 {
		t.Skip("give -torture.mutants, for example 60s")
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(module)
	if err != nil {
		t.Fatal(err)
	}
	found, tried := 0, 0
	for _, m := range mutants {
		if !match.MatchString(m.name) {
			continue
		}
		tried++
		bin, err := m.build(root, t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		began := time.Now()
		seed, promise, err := m.hunt(t, bin)
		switch {
		case err != nil:
			t.Errorf("%s: %v", m.name, err)
		case promise == "":
			t.Errorf("not found in %v: %s", *mutantTime, m.name)
		default:
			t.Logf("| %s | %.1f | %s |  seed %d", m.name, time.Since(began).Seconds(), promise, seed)
			found++
		}
	}
	t.Logf("%d of %d mutants found", found, tried)
	if tried == 0 {
		t.Error("no mutant was tried")
	}
}

// build makes a test binary whose cutter has the mutant's change.
func (m *mutant) build(root, dir string) (bin string, err error) {
	file := filepath.Join(root, m.file)
	src, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(src), m.old, m.new, 1)), 0o644); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "torture.test")
	build := exec.Command("go", "test", "-c", "-ldflags", "-s -w", "-overlay", list, "-o", bin, "./lib/torture")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	return bin, nil
}

var (
	brokenLine = regexp.MustCompile(`\.go:\d+: (.+): \d+ violations in `)
	replayLine = regexp.MustCompile(`-replay '([^']+)'`)
)

// hunt runs the binary of a mutant until it breaks a promise that this binary, which has no mutant, keeps; "" if it does not in time.
func (m *mutant) hunt(t *testing.T, bin string) (seed uint64, promise string, err error) {
	until := time.Now().Add(*mutantTime)
	for from := uint64(1); time.Now().Before(until); from = seed + 1 {
		run := exec.Command(bin, "-test.run", "^TestPromises$", "-test.v", "-test.timeout", "0", "-torture.shrink", "0", "-torture.stop", "-torture.hint", m.hint,
			"-torture.duration", time.Until(until).String(), "-torture.seed", fmt.Sprint(from))
		out, err := run.CombinedOutput()
		if err == nil {
			return 0, "", nil
		}
		line := replayLine.FindSubmatch(out)
		if line == nil {
			return 0, "", fmt.Errorf("it breaks no promise, but ends with %w\n%s", err, out)
		}
		spec, err := ParseSpec(string(line[1]))
		if err != nil {
			return 0, "", err
		}
		seed = spec.Seed
		kept := map[string]bool{}
		for _, b := range brokenLine.FindAllSubmatch(out, -1) {
			kept[string(b[1])] = true
		}
		for _, v := range Check(&spec).Violations {
			if kept[v.Promise] {
				t.Logf("not the mutant's, the cutter as it is has it, too: %s\n%s", v, spec)
			}
			delete(kept, v.Promise)
		}
		if len(kept) > 0 {
			return seed, slices.Max(slices.Collect(maps.Keys(kept))), nil
		}
	}
	return 0, "", nil
}
