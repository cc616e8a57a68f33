package torture

import (
	"fmt"

	"every.channel/ec/lib/object"
)

// Promises that can be broken.
const (
	TwoHashes   = "safety: one name, two hashes"
	TwoCatalogs = "safety: one name, two hashes (catalog)"
	TwoNames    = "safety: one content, two names"
	Gap         = "safety: promoted with a gap"
	WrongName   = "safety: named after another broadcast"
	Scrambled   = "safety: scrambled, but promoted"
	Nobody      = "safety: named after ids of nobody"
	NotPromoted = "liveness: not promoted"
	NotAtChange = "liveness: not promoted where the PMT changes"
	NotHealed   = "liveness: not promoted by one that lost nothing of it"
	TooLong     = "liveness: chunk too long"
	NoRAP       = "cut: chunk does not start at a random access point"
	Incomplete  = "cut: bytes are in no chunk"
	Manifest    = "manifest: not what was written"
	Failed      = "ec-chop ended with an error"
)

// Violation is one place where a promise is broken.
type Violation struct {
	Promise  string
	Receiver int
	Name     string
	Detail   string
}

// Result is the judgement of one combination.
type Result struct {
	Violations []Violation
	Packets    int
	Chunks     int // of all receivers
	Promoted   int // of them, under the broadcast's name
	Due        int // chunks whose promotion is promised
	DueDone    int // of them, promoted
	Compared   int // promoted objects that another receiver promoted, too
	Invisible  int // names with two hashes that no signal of H.222.0 could have prevented
	LateTold   int // told in the manifest when the sparse PID was heard again
	Chance     int // names that two chunks of one bucket share
	Lapsed     int // chunks whose name a step among lost packets would change, before time was heard again
	Edge       int // two names, because time tables disagree by more than the clock is from where its name changes
	Unripe     int // the input ended before the time for telling was over
}

type judge struct {
	s      *Stream
	res    *Result
	all    []*reception
	chunks [][]*chunk
	chance string // the name that two chunks share by chance
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: receiver %d, %s: %s", v.Promise, v.Receiver, v.Name, v.Detail)
}

func (r *Result) add(promise string, receiver int, name, detail string, args ...any) {
	r.Violations = append(r.Violations, Violation{promise, receiver, name, fmt.Sprintf(detail, args...)})
}

// Check makes the stream, lets every receiver hear it, and judges.
func Check(spec *Spec) *Result {
	s := Generate(spec)
	res := &Result{Packets: len(s.packets)}
	all := make([]*reception, len(spec.Receivers))
	chunks := make([][]*chunk, len(all))
	seen := map[object.Hash]*content{}
	for i := range all {
		all[i] = s.receive(i, &spec.Receivers[i])
		if all[i].err != nil && spec.Receivers[i].whole() && spec.Legal() && s.longest < 3*second && (all[i].number == 0 || spec.H[hNumber] == 0) {
			res.add(Failed, i, "", "%v", all[i].err)
		}
		chunks[i] = s.chunks(res, i, all[i], seen)
	}
	j := &judge{s: s, res: res, all: all, chunks: chunks}
	j.names()
	j.hashes()
	for i := range all {
		j.gaps(i)
		j.cuts(i)
		if all[i].r.whole() && (all[i].number == 0 || spec.H[hNumber] == 0) {
			j.complete(i)
		}
		if spec.Legal() && s.named {
			j.live(i)
		}
	}
	j.owners()
	return res
}
