package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// habit is one property of a stream or a receiver that can be chosen. 0 is the plain value of every habit, so the habits that a
// failure needs are those that are left when all others are 0.
type habit struct {
	name string
	help string
	draw func(r *rand.Rand) int
}

// pick draws one of the values that are listed; what is common is listed often.
func pick(values ...int) func(*rand.Rand) int {
	return func(r *rand.Rand) int { return values[r.IntN(len(values))] }
}

// rare draws a value up to the greatest in one of 12 streams.
func rare(most int) func(*rand.Rand) int {
	return func(r *rand.Rand) int {
		if v := r.IntN(12 * most); v < most {
			return v + 1
		}
		return 0
	}
}

// Habits of a stream.
const (
	hLen = iota
	hSystem
	hIdent
	hCodec
	hFPS
	hGOP
	hReorder
	hOpen
	hSets
	hFields
	hPES
	hPESLen
	hRAI
	hAudio
	hAudioCodec
	hAudioFrames
	hAudioDead
	hAudioStop
	hSparse
	hSparseEvery
	hPCR
	hPCREvery
	hPCRIrregular
	hCBR
	hStuff
	hAF
	hDup
	hDupApart
	hDisc
	hPrograms
	hPATSections
	hPMTFirst
	hPMTChange
	hTables
	hTableJitter
	hTime
	hTimeJitter
	hTOT
	hClock
	hStep
	hStepGOP
	hDrift
	hDST
	hLeap
	hTrap
	hScrambled
	hIllegal
	hPMTPID
	hPIDs
	hStreams
	hTSID
	hONID
	hNumber
	numHabits
)

var streamHabits = [numHabits]habit{
	hLen:          {"len", "seconds beyond 14", func(r *rand.Rand) int { return r.IntN(18) }},
	hSystem:       {"atsc", "1: PSIP, 0: DVB SI", pick(0, 1)},
	hIdent:        {"ident", "1: no SDT or VCT, 2: ids of nobody", pick(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2)},
	hCodec:        {"codec", "0 H.264, 1 MPEG-2, 2 HEVC, 3 radio", pick(0, 0, 0, 1, 1, 1, 2, 2, 3)},
	hFPS:          {"fps", "0 25, 1 24, 2 29.97, 3 50, 4 59.94, 5 a picture a second, 6 one in three seconds", pick(0, 0, 0, 1, 2, 2, 3, 4, 5, 6)},
	hGOP:          {"gop", "0 0.5 s, 1 1 s, 2 2.4 s, 3 4 s, 4 irregular", pick(0, 0, 1, 1, 2, 3, 4, 4)},
	hReorder:      {"reorder", "B pictures between anchors", pick(0, 1, 2)},
	hOpen:         {"open", "1 open GOPs, 2 open and closed, 3 gradual refresh (H.264)", pick(0, 0, 1, 1, 2, 3)},
	hSets:         {"sets", "1: parameter sets or sequence headers in every access unit", pick(0, 0, 0, 1)},
	hFields:       {"fields", "1: field pairs in one PES packet, 2: in two", pick(0, 0, 0, 0, 1, 2)},
	hPES:          {"pes", "0: an access unit a PES packet, 1: several, 2: several, random access anywhere, 3: not aligned", pick(0, 0, 0, 0, 0, 1, 2, 3)},
	hPESLen:       {"peslen", "1: PES_packet_length of video is set", pick(0, 1)},
	hRAI:          {"rai", "random_access_indicator: 0 right, 1 never, 2 on every access unit", pick(0, 0, 1, 2)},
	hAudio:        {"audio", "0 one PID, 1 two, 2 three, 3 none", pick(0, 0, 0, 0, 1, 1, 2, 3)},
	hAudioCodec:   {"acodec", "0 MPEG-1 layer II, 1 AC-3, 2 AAC", pick(0, 1, 2)},
	hAudioFrames:  {"aframes", "frames in a PES packet beyond the first", pick(0, 0, 1, 3, 6)},
	hAudioDead:    {"adead", "1: the PMT lists an audio PID that nobody sends", pick(0, 0, 0, 0, 1)},
	hAudioStop:    {"astop", "1: an audio PID stops for seconds", pick(0, 0, 0, 0, 0, 0, 1)},
	hSparse:       {"sparse", "bits: 1 SCTE-35, 2 DVB subtitles, 4 teletext, 8 data", func(r *rand.Rand) int { return r.IntN(16) & r.IntN(16) }},
	hSparseEvery:  {"every", "seconds between units of a sparse PID beyond 1", pick(0, 1, 2, 4, 4, 9, 14, 29)},
	hPCR:          {"pcr", "0 in packets of video, 1 bare packets, 2 mixed, 3 a PID of its own", pick(0, 0, 1, 2, 2, 3)},
	hPCREvery:     {"pcrms", "ms between PCRs beyond 20", pick(0, 5, 15, 20, 20, 40, 60, 75)},
	hPCRIrregular: {"pcrirr", "1: irregular", pick(0, 0, 1)},
	hCBR:          {"cbr", "1: constant rate with null packets", pick(0, 1)},
	hStuff:        {"stuff", "1 stuffing in adaptation fields, 2 bare stuffing packets, 3 both", pick(0, 0, 0, 1, 2, 3)},
	hAF:           {"af", "bits: 1 OPCR, 2 private data, 4 splice_countdown, 8 elementary_stream_priority", func(r *rand.Rand) int { return r.IntN(16) & r.IntN(16) }},
	hDup:          {"dup", "duplicate packets in a thousand", pick(0, 0, 0, 0, 3, 20, 200)},
	hDupApart:     {"apart", "1: packets of other PIDs between a packet and its duplicate", pick(0, 0, 1)},
	hDisc:         {"disc", "discontinuity_indicator: 1 with every PCR, 2 on first packets, 3 anywhere off the PCR PID, 4 on PAT and PMT, 5 without payload where a counter starts anew off the PCR PID", pick(0, 0, 0, 0, 0, 1, 2, 3, 4, 5)},
	hPrograms:     {"programs", "other programs", pick(0, 0, 0, 1, 2)},
	hPATSections:  {"patsec", "1: PAT in two sections, this program in the second; 2: in the first", pick(0, 0, 0, 1, 2)},
	hPMTFirst:     {"pmtfirst", "1: the first PMT comes before the first PAT", pick(0, 0, 1)},
	hPMTChange:    {"pmtchange", "1 version only, 2 a stream added, 3 a language changed", pick(0, 0, 0, 0, 0, 0, 1, 2, 3)},
	hTables:       {"tables", "ms between PATs beyond 20", pick(80, 80, 30, 0, 180, 480)},
	hTableJitter:  {"tabjit", "1: tables come irregularly", pick(0, 0, 1)},
	hTime:         {"time", "seconds between time tables beyond 1", pick(0, 0, 0, 1, 2, 4, 8)},
	hTimeJitter:   {"timejit", "ms that a time table may be late", pick(0, 0, 100, 300, 900)},
	hTOT:          {"tot", "1: TDT and TOT, 2: three TDT for each TOT", pick(0, 0, 0, 1, 1, 2)},
	hClock:        {"clock", "0 anywhere, 1 PTS wraps in the middle, 2 within 1 s of half an hour off UTC, 3 within 90 s, 4 where k changes", pick(0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4)},
	hStep:         {"step", "1 splice away and home, 2 encoder restarts, 3 small step back, 4 small step forward", pick(0, 0, 0, 0, 0, 0, 1, 2, 3, 4)},
	hStepGOP:      {"stepgop", "1: video starts anew at a step", pick(0, 1)},
	hDrift:        {"drift", "1 +30 ppm, 2 −30 ppm", pick(0, 1, 2)},
	hDST:          {"dst", "1: daylight saving changes in the middle", pick(0, 0, 0, 1)},
	hLeap:         {"leap", "1: a leap second in the middle", pick(0, 0, 0, 0, 0, 1)},
	hTrap: {"trap", "bits: 1 VCT or SDT of another stream with this program, 2 tables with current_next_indicator 0, 4 STT of protocol_version 1, 8 sections like SDT, STT and TDT on a stream's PID that is theirs in the other system, 16 SDT whose name goes A, B, A", func(r *rand.Rand) int {
		return r.IntN(32) & r.IntN(32) & r.IntN(32)
	}},
	hScrambled: {"scrambled", "for some seconds: 1 packets of video, 2 PES packets of video, 3 packets of audio", func(r *rand.Rand) int { return max(r.IntN(24)-20, 0) }},
	hIllegal: {"illegal", "1: steps without discontinuity_indicator, 2: TDT wrong by hours beside a right TOT, 3: a time table in six is wrong by hours", func(r *rand.Rand) int {
		return max(r.IntN(36)-32, 0)
	}},
	hPMTPID: {"pmtpid", "1: the PMT moves to another PID, 2: and back", rare(2)},
	hPIDs: {"pids", "bits, what moves to other PIDs by a new PMT: 1 audio, 2 video, 4 sparse PIDs, 8 the PCR PID of its own; 16: and back", func(r *rand.Rand) int {
		return r.IntN(32) * max(r.IntN(12)-10, 0)
	}},
	hStreams: {"streams", "1: video changes its codec, 2: and back, 3: an audio PID goes away and comes back, 4: video does", rare(4)},
	hTSID:    {"tsid", "1: PAT, SDT and VCT have another transport_stream_id, 2: and the first one again", rare(2)},
	hONID:    {"onid", "1: the SDT has another original_network_id, 2: and the first one again", rare(2)},
	hNumber:  {"number", "1: the program has another program_number, 2: and the first one again", rare(2)},
}

// Habits of a receiver.
const (
	rJoin = iota
	rJoinByte
	rLoss
	rLossKind
	rBurst
	rSixteen
	rNear
	rTEI
	rCut
	rDupAdd
	rDupDrop
	rRemake
	rStrip
	rPack
	rRead
	rPart
	numReceiver
)

var receiverHabits = [numReceiver]habit{
	rJoin:     {"join", "ms after the start", func(r *rand.Rand) int { return r.IntN(10000) }},
	rJoinByte: {"byte", "bytes of the first packet that were missed", pick(0, 0, 1, 100)},
	rLoss:     {"loss", "losses", pick(1, 1, 2, 3, 5, 9)},
	rLossKind: {"of", "0 any packet, 1 video, 2 audio, 3 sparse, 4 packets with PCR, 5 PAT and PMT, 6 time tables, 7 other SI", pick(0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7)},
	rBurst:    {"burst", "packets of that kind in a loss, at most, beyond the first", pick(0, 0, 0, 1, 4, 14, 39)},
	rSixteen:  {"sixteen", "1: each loss is of exactly 16 packets of a PID, 2: they come, with transport_error_indicator", func(r *rand.Rand) int { return max(r.IntN(30)-27, 0) }},
	rNear:     {"near", "1: losses lie near where something changes", pick(0, 0, 1)},
	rTEI:      {"tei", "packets with transport_error_indicator and broken bytes", pick(0, 0, 0, 1, 3)},
	rCut:      {"cut", "places where bytes are missing", pick(0, 0, 0, 0, 1, 2)},
	rDupAdd:   {"dupadd", "duplicates made on the way, in a thousand", pick(0, 0, 0, 0, 5, 50)},
	rDupDrop:  {"dupdrop", "1 first copies are lost, 2 second copies, 3 either", pick(0, 0, 1, 2, 3)},
	rRemake:   {"remake", "1: PAT and PMT made anew, 2: with another transport_stream_id", pick(0, 0, 0, 1, 2)},
	rStrip:    {"strip", "bits: 1 null packets, 2 SI that gives neither time nor identity", pick(0, 0, 1, 2, 3)},
	rPack:     {"pack", "1: packets of 192 bytes, 2: of 204", pick(0, 0, 0, 1, 2)},
	rRead:     {"read", "1: reads of odd sizes, 2: of few bytes", pick(0, 0, 0, 1, 1, 2)},
	rPart:     {"part", "1: parts are promoted", pick(0, 0, 0, 1)},
}

// lossy are the habits by which a receiver does not get everything.
var lossy = []int{rLoss, rTEI, rCut}

// Receiver is one receiver's habits.
type Receiver struct {
	Seed uint64
	H    [numReceiver]int
}

func (r *Receiver) whole() bool {
	for _, h := range lossy {
		if r.H[h] != 0 {
			return false
		}
	}
	return true
}

// Spec is one combination: a stream and its receivers.
type Spec struct {
	Seed      uint64
	H         [numHabits]int
	Receivers []Receiver
}

// Random draws a combination. The first receiver and the second get everything.
func Random(seed uint64) Spec {
	r := rand.New(rand.NewPCG(seed, 0x7073))
	s := Spec{Seed: seed}
	// Some streams have few habits, so that each is also seen alone.
	calm := r.IntN(4) == 0
	for i := range s.H[:hPMTPID] {
		s.H[i] = streamHabits[i].draw(r)
		if calm && i > hCodec && r.IntN(5) > 0 {
			s.H[i] = 0
		}
	}
	for n := range 4 + r.IntN(3) {
		v := Receiver{Seed: r.Uint64() & 0xffffff}
		for i := range v.H {
			v.H[i] = receiverHabits[i].draw(r)
		}
		if n < 2 {
			for _, h := range lossy {
				v.H[h] = 0
			}
		}
		if n == 0 {
			v = Receiver{Seed: v.Seed}
		}
		v.tidy()
		s.Receivers = append(s.Receivers, v)
	}
	s.drawMoves()
	s.tidy()
	return s
}

// tidy sets habits that have no effect to 0.
func (s *Spec) tidy() {
	h := &s.H
	if h[hCodec] == 3 {
		for _, i := range []int{hFPS, hGOP, hReorder, hOpen, hSets, hFields, hPES, hPESLen, hRAI, hStepGOP} {
			h[i] = 0
		}
		h[hAudio] %= 3
	}
	if h[hFPS] >= 5 { // still pictures
		for _, i := range []int{hGOP, hReorder, hOpen, hFields, hPES, hStepGOP} {
			h[i] = 0
		}
		if h[hPCR] == 0 {
			h[hPCR] = 2
		}
	}
	if h[hAudio] == 3 {
		h[hAudioCodec], h[hAudioFrames], h[hAudioStop] = 0, 0, 0
	}
	if h[hOpen] == 3 && h[hCodec] != 0 {
		h[hOpen] = 1
	}
	if h[hCodec] == 2 && h[hFields] != 0 {
		h[hFields] = 0 // HEVC codes fields as pictures of their own
	}
	if h[hSystem] == 1 {
		h[hTOT] = 0
		if h[hIllegal] == 2 {
			h[hIllegal] = 0
		}
		h[hTrap] &^= 16
	} else {
		h[hTrap] &^= 4
	}
	if h[hIdent] != 0 {
		h[hTrap] &^= 1 | 16
	}
	if h[hCodec] == 3 && h[hScrambled] != 0 {
		h[hScrambled] = 3
	}
	if h[hAudio] == 3 && h[hScrambled] == 3 {
		h[hScrambled] = 1
	}
	h[hIllegal] &= 3
	if h[hStep] == 0 && h[hIllegal] == 1 {
		h[hIllegal] = 0
	}
	if h[hIllegal] == 2 {
		h[hTOT] = max(h[hTOT], 1)
	}
	if h[hCodec] == 3 {
		h[hPIDs] &^= movedVideo
		if h[hStreams] != audioLeaves || h[hAudio] == 0 {
			h[hStreams] = 0
		}
	}
	if v := h[hStreams]; v == newCodec || v == newCodecBack { // not every codec has these
		h[hOpen], h[hFields] = h[hOpen]&1, 0
	}
	if h[hAudio] == 3 {
		h[hPIDs] &^= movedAudio
		if h[hStreams] > newCodecBack {
			h[hStreams] = 0
		}
	}
	if h[hSparse] == 0 {
		h[hPIDs] &^= movedSparse
	}
	if h[hPCR] != 3 {
		h[hPIDs] &^= movedPCR
	}
	if h[hPIDs] == movedBack {
		h[hPIDs] = 0
	}
	if h[hIdent] == 2 {
		h[hTSID] = 0
	}
	if h[hSystem] == 1 || h[hIdent] != 0 {
		h[hONID] = 0
	}
	for _, of := range [][2]int{{hSparse, hSparseEvery}, {hStep, hStepGOP}, {hPrograms, hPATSections}, {hDup, hDupApart}} {
		if h[of[0]] == 0 {
			h[of[1]] = 0
		}
	}
}

func (r *Receiver) tidy() {
	if r.H[rLoss] == 0 {
		r.H[rLossKind], r.H[rBurst], r.H[rSixteen], r.H[rNear] = 0, 0, 0, 0
	}
	if r.H[rSixteen] != 0 {
		r.H[rBurst] = 0
	}
}

// Legal tells whether liveness is promised for the stream: it is legal, and not scrambled.
func (s *Spec) Legal() bool { return s.H[hIllegal] == 0 && s.H[hScrambled] == 0 }

// String is the one line that ParseSpec reads.
func (s Spec) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed=%d", s.Seed)
	for i, v := range s.H {
		if v != 0 {
			fmt.Fprintf(&b, " %s=%d", streamHabits[i].name, v)
		}
	}
	for _, r := range s.Receivers {
		fmt.Fprintf(&b, " / seed=%d", r.Seed)
		for i, v := range r.H {
			if v != 0 {
				fmt.Fprintf(&b, " %s=%d", receiverHabits[i].name, v)
			}
		}
	}
	return b.String()
}

// set reads "name=number …" into values, and seed=… into seed if one is wanted.
func set(fields string, table []habit, values []int, seed *uint64) error {
	for _, f := range strings.Fields(fields) {
		name, text, ok := strings.Cut(f, "=")
		v, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("%q: want name=number", f)
		}
		if name == "seed" && seed != nil {
			*seed = v
			continue
		}
		i := slices.IndexFunc(table, func(h habit) bool { return h.name == name })
		if i < 0 || v > 1<<20 {
			return fmt.Errorf("%q: no such habit", f)
		}
		values[i] = int(v)
	}
	return nil
}

// ParseSpec reads what String wrote.
func ParseSpec(line string) (Spec, error) {
	var s Spec
	for n, fields := range strings.Split(line, "/") {
		table, values := streamHabits[:], s.H[:]
		seed := &s.Seed
		if n > 0 {
			s.Receivers = append(s.Receivers, Receiver{})
			r := &s.Receivers[n-1]
			table, values, seed = receiverHabits[:], r.H[:], &r.Seed
		}
		if err := set(fields, table, values, seed); err != nil {
			return s, err
		}
	}
	if len(s.Receivers) == 0 {
		s.Receivers = []Receiver{{}}
	}
	return s, nil
}

// Hint sets habits that matter for what is looked for: of the stream and, behind a slash, of all receivers but the first two, which get
// everything.
func (s *Spec) Hint(line string) error {
	stream, receivers, _ := strings.Cut(line, "/")
	if err := set(stream, streamHabits[:], s.H[:], nil); err != nil {
		return err
	}
	s.tidy()
	for i := 2; i < len(s.Receivers); i++ {
		if err := set(receivers, receiverHabits[:], s.Receivers[i].H[:], nil); err != nil {
			return err
		}
		s.Receivers[i].tidy()
	}
	return nil
}

// habits returns the names of the habits that are not plain, with their values where a name has kinds.
func (s *Spec) habits() (names []string) {
	for i, v := range s.H {
		if v != 0 && i != hLen && i != hTables && i != hPCREvery {
			names = append(names, fmt.Sprintf("%s=%d", streamHabits[i].name, v))
		}
	}
	return names
}
