package sim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/ts"
)

// A File is a transport stream from disk, broadcast again and again, untouched, paced by its own PCR.
// Where it is in the file follows from UTC, so that instances agree; at its seam clock and counters jump.
type File struct {
	Path string
	// Once stops at the end of the file; the first reader starts it at its start.
	Once bool

	data   *os.File
	stride int64
	runs   []run
	count  int64 // packets
	length clock.Ticks27
	marks  []mark
}

// A run is where packets lie one after the other in the file, up to the next run.
type run struct{ packet, offset int64 }

// A mark says when a packet of the file is sent, from the first packet on.
type mark struct {
	packet int64
	at     clock.Ticks27
}

// ErrNoClock: a transport stream has no PCR to be paced by.
var ErrNoClock error = noClock{}

type noClock struct{}

func (noClock) Error() string { return "no PCR to pace it by" }
func (noClock) ExitCode() int { return exit.BadData }

// OpenFile reads through a transport stream once to learn its clock.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &File{Path: path, data: f}
	if err := t.scan(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return t, nil
}

// Close closes the file. Its readers fail after that.
func (f *File) Close() error { return f.data.Close() }

// Duration is how long one pass takes.
func (f *File) Duration() time.Duration { return f.length.Duration() }

// scan finds the packets and the first PCR PID's clock. Jumps of it are no time that passes.
func (f *File) scan() error {
	r := ts.NewReader(f.data)
	var pid ts.PID
	var last clock.PCR
	var at clock.Ticks27
	torn := true // the next packet does not follow the one before
	for {
		p, err := r.Next()
		var lost *ts.SyncError
		if errors.As(err, &lost) {
			torn = true
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if torn {
			f.stride = int64(r.Stride())
			f.runs = append(f.runs, run{f.count, r.Offset() - f.stride})
			torn = false
		}
		if v, ok := p.PCR(); ok && (len(f.marks) == 0 || pid == p.PID()) {
			now := clock.PCR(v)
			if d := now.Sub(last); len(f.marks) > 0 && d > 0 && d < clock.SystemHz {
				at += d
			}
			pid, last = p.PID(), now
			f.marks = append(f.marks, mark{f.count, at})
		}
		f.count++
	}
	if at == 0 {
		return ErrNoClock
	}
	// The packets before the first PCR and after the last go at the mean rate.
	a, b := f.marks[0], f.marks[len(f.marks)-1]
	rate := float64(b.at) / float64(b.packet-a.packet)
	lead := clock.Ticks27(rate * float64(a.packet))
	for i := range f.marks {
		f.marks[i].at += lead
	}
	f.length = b.at + lead + clock.Ticks27(rate*float64(f.count-b.packet))
	f.marks = append([]mark{{0, 0}}, f.marks...)
	f.marks = append(f.marks, mark{f.count, f.length})
	return nil
}

// lies says where packet i lies and how many follow it without a tear.
func (f *File) lies(i int64) (offset, n int64) {
	j := sort.Search(len(f.runs), func(j int) bool { return f.runs[j].packet > i })
	end := f.count
	if j < len(f.runs) {
		end = f.runs[j].packet
	}
	r := f.runs[j-1]
	return r.offset + (i-r.packet)*f.stride, end - i
}

// sentBefore is how many packets of one pass are sent before a time into it.
func (f *File) sentBefore(at clock.Ticks27) int64 {
	i := sort.Search(len(f.marks), func(i int) bool { return f.marks[i].at >= at })
	if i == 0 {
		return 0
	}
	if i == len(f.marks) {
		return f.count
	}
	a, b := f.marks[i-1], f.marks[i]
	return a.packet + int64(float64(b.packet-a.packet)*float64(at-a.at)/float64(b.at-a.at))
}

// Reader receives the file from from up to to; a zero to never ends.
func (f *File) Reader(from, to time.Time) *FileReader {
	r := &FileReader{f: f, end: 1 << 62}
	if f.Once {
		r.origin = from
	} else {
		r.origin = time.Unix(0, 0)
	}
	r.pos = r.position(from)
	if !to.IsZero() {
		r.end = r.position(to)
	}
	if f.Once {
		r.end = min(r.end, f.count)
	}
	return r
}

// FileReader is a receiver of a File. It is not for concurrent use.
type FileReader struct {
	f      *File
	origin time.Time // when packet 0 of pass 0 was sent
	pos    int64     // packets since then
	end    int64
	rest   []byte
	buf    []byte
}

// position is the number of the first packet sent at t or later.
func (r *FileReader) position(t time.Time) int64 {
	ticks := int64((clock.TicksAt(t) - clock.TicksAt(r.origin)).Ticks27())
	length := int64(r.f.length)
	return ticks/length*r.f.count + r.f.sentBefore(clock.Ticks27(ticks%length))
}

// Until implements Feed.
func (r *FileReader) Until(b []byte, t time.Time) ([]byte, error) {
	end := min(r.position(t), r.end)
	had := len(b)
	for r.pos < end && cap(b)-len(b) >= ts.PacketSize {
		offset, n := r.f.lies(r.pos % r.f.count)
		n = min(n, end-r.pos, int64(cap(b)-len(b))/ts.PacketSize)
		if r.f.stride != ts.PacketSize {
			n = 1
		}
		size := int(n) * ts.PacketSize
		at := len(b)
		if _, err := r.f.data.ReadAt(b[at:at+size], offset); err != nil {
			return b[:at], fmt.Errorf("%s: %w", r.f.Path, err)
		}
		b = b[:at+size]
		r.pos += n
	}
	if len(b) == had && r.pos >= r.end {
		return b, io.EOF
	}
	return b, nil
}

// Read fills b, cutting a packet only where b ends.
func (r *FileReader) Read(b []byte) (n int, err error) {
	if len(r.rest) == 0 && len(b) > 0 {
		if r.buf == nil {
			r.buf = make([]byte, 0, 512*ts.PacketSize)
		}
		// the end of time: Read is not paced
		if r.rest, err = r.Until(r.buf, r.origin.Add(1<<62)); err != nil {
			return 0, err
		}
	}
	n = copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
