package pace

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

const (
	pcrPID ts.PID = 0x1ffa
	video  ts.PID = 0x100
)

// maker makes a stream like the canonical one: a packet with a PCR alone every 40 ms, and packets with payload behind each.
type maker struct {
	pcr clock.PCR
	cc  uint8
	n   byte
	bytes.Buffer
}

// span adds a PCR and n packets, and moves the clock by 40 ms.
func (m *maker) span(n int) {
	var p ts.Packet
	p.Fill(&ts.Header{PID: pcrPID, HasPCR: true, PCR: uint64(m.pcr)}, nil)
	m.Write(p[:])
	for range n {
		m.n++
		p.Fill(&ts.Header{PID: video, Continuity: m.cc}, bytes.Repeat([]byte{m.n}, 184))
		m.cc = (m.cc + 1) & 15
		m.Write(p[:])
	}
	m.pcr = m.pcr.Add(40 * clock.SystemMillisecond)
}

// sent is a packet, and when it was written.
type sent struct {
	at time.Duration
	ts.Packet
}

// recorder takes what is written.
type recorder struct {
	t     *testing.T
	begun time.Time
	list  []sent
}

func (r *recorder) Write(b []byte) (int, error) {
	if len(b)%ts.PacketSize != 0 || len(b) > Burst*ts.PacketSize {
		r.t.Errorf("a write of %d bytes", len(b))
	}
	for i := 0; i+ts.PacketSize <= len(b); i += ts.PacketSize {
		r.list = append(r.list, sent{time.Since(r.begun), ts.Packet(b[i : i+ts.PacketSize])})
	}
	return len(b), nil
}

// payload is the packets of the video PID.
func (r *recorder) payload() (b []byte) {
	for i := range r.list {
		if r.list[i].PID() == video {
			b = append(b, r.list[i].Packet[:]...)
		}
	}
	return b
}

// paced runs Run in a bubble whose time is exact.
func paced(t *testing.T, c Config, in io.Reader) (r *recorder, s Stats, err error) {
	r = &recorder{t: t, begun: time.Now()}
	s, err = Run(context.Background(), c, in, r)
	return r, s, err
}

func payload(b []byte) (out []byte) {
	for ; len(b) > 0; b = b[ts.PacketSize:] {
		if (*ts.Packet)(b).PID() == video {
			out = append(out, b[:ts.PacketSize]...)
		}
	}
	return out
}

func TestAsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := maker{pcr: clock.SystemWrap - 100*clock.SystemMillisecond} // wraps on the way
		for i := range 50 {
			m.span(5 + 3*(i%4))
		}
		want := bytes.Clone(m.Bytes())
		r, s, err := paced(t, Config{}, &m)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for i := range r.list {
			got = append(got, r.list[i].Packet[:]...)
		}
		if !bytes.Equal(got, want) {
			t.Error("other packets came out")
		}
		if s.Pauses != 0 || s.Anew != 0 || s.Null != 0 {
			t.Errorf("%+v", s)
		}
		n := 0
		for _, p := range r.list {
			if _, ok := p.PCR(); ok { // up to six packets behind a PCR leave with the PCR
				due := time.Second + time.Duration(n)*40*time.Millisecond
				if d := p.at - due; d < -time.Millisecond || d > 45*time.Millisecond {
					t.Errorf("PCR %d left %v off its time", n, d)
				}
				n++
			}
		}
		if d := r.list[len(r.list)-1].at; d < 2900*time.Millisecond || d > 3*time.Second {
			t.Errorf("two seconds of stream were over after %v", d)
		}
	})
}

// checkConstant checks that each PCR is that of its place, and that they come often enough.
func checkConstant(t *testing.T, r *recorder, rate int64, anew int) {
	t.Helper()
	var first clock.PCR
	at, last, begins := 0, 0, -1
	for i := range r.list {
		v, ok := r.list[i].PCR()
		if !ok {
			continue
		}
		pcr := clock.PCR(v)
		if r.list[i].PID() != pcrPID {
			t.Errorf("a PCR on PID %#x", r.list[i].PID())
		}
		if begins < 0 || r.list[i].Discontinuity() {
			begins++
			first, at = pcr, i
		} else if want := float64(i-at) * ts.PacketSize * 8 * 27e6 / float64(rate); float64(pcr.Sub(first)) < want-2 || float64(pcr.Sub(first)) > want+2 {
			t.Fatalf("packet %d: the PCR is %d ticks behind the first one, the place %.1f", i, pcr.Sub(first), want)
		}
		if d := time.Duration(i-last) * ts.PacketSize * 8 * time.Second / time.Duration(rate); d > 40*time.Millisecond && last > 0 {
			t.Errorf("packet %d: no PCR for %v", i, d)
		}
		last = i
	}
	if begins != anew {
		t.Errorf("the clock began anew %d times, want %d", begins, anew)
	}
	span := time.Duration(len(r.list)-Burst) * ts.PacketSize * 8 * time.Second / time.Duration(rate)
	if took := r.list[len(r.list)-1].at - r.list[0].at; took < span-5*time.Millisecond || took > span+5*time.Millisecond {
		t.Errorf("%d packets took %v, at this rate %v", len(r.list), took, span)
	}
}

func TestConstantRate(t *testing.T) {
	for _, rate := range []int64{500_000, 1_000_003, 8_000_000, 38_014_706} {
		synctest.Test(t, func(t *testing.T) {
			m := maker{pcr: clock.SystemWrap - 100*clock.SystemMillisecond}
			for i := range 100 {
				m.span(2 + 9*(i%2)) // 488,800 bit/s, in turns more than the lowest rate
			}
			want := payload(m.Bytes())
			r, s, err := paced(t, Config{Rate: rate}, &m)
			if err != nil {
				t.Fatal(err)
			}
			if rate > 600_000 && s.Late > 50*time.Millisecond || s.Pauses > 0 {
				t.Errorf("%+v", s)
			}
			if !bytes.Equal(r.payload(), want) {
				t.Error("other packets came out")
			}
			checkConstant(t, r, rate, 0)
		})
	}
}

// A multiplex that is too small loses nothing, says so, and announces that its clock begins anew.
func TestRateTooLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m maker
		for range 250 {
			m.span(20) // 752 kbit/s
		}
		want := payload(m.Bytes())
		var log strings.Builder
		r, s, err := paced(t, Config{Rate: 600_000, Log: slog.New(slog.NewTextHandler(&log, nil))}, &m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.payload(), want) {
			t.Error("other packets came out")
		}
		if s.Anew == 0 || !strings.Contains(log.String(), "too low") || s.Late > 700*time.Millisecond {
			t.Errorf("%+v\n%s", s, &log)
		}
		checkConstant(t, r, 600_000, int(s.Anew))
	})
}

// late gives out a stream span by span, each when its function says.
type lateReader struct {
	m     *maker
	spans int
	wait  func(i int)
	i     int
	size  int // packets of a span, 10 if 0
}

func (l *lateReader) Read(b []byte) (int, error) {
	if l.m.Len() == 0 {
		if l.i == l.spans {
			return 0, io.EOF
		}
		l.wait(l.i)
		l.m.span(cmp.Or(l.size, 10))
		l.i++
	}
	return l.m.Read(b)
}

func TestInputStalls(t *testing.T) {
	for _, rate := range []int64{0, 2_000_000} {
		for _, test := range []struct {
			stall time.Duration
			pause int64
		}{
			{900 * time.Millisecond, 0}, // less than the delay
			{5 * time.Second, 1},
		} {
			synctest.Test(t, func(t *testing.T) {
				in := &lateReader{m: &maker{}, spans: 300, wait: func(i int) {
					if i == 100 {
						time.Sleep(test.stall)
					}
					time.Sleep(40 * time.Millisecond)
				}}
				r, s, err := paced(t, Config{Rate: rate}, in)
				if err != nil {
					t.Fatal(err)
				}
				if s.Pauses != test.pause {
					t.Errorf("rate %d, stall %v: %d pauses", rate, test.stall, s.Pauses)
				}
				if n := len(r.payload()) / ts.PacketSize; n != 3000 {
					t.Errorf("rate %d, stall %v: %d packets of 3000", rate, test.stall, n)
				}
				if rate > 0 {
					checkConstant(t, r, rate, int(test.pause))
				}
			})
		}
	}
}

// Where the broadcast's clock steps, the output goes on at once, and says so; where groups are missing, their time passes.
func TestClockSteps(t *testing.T) {
	for _, rate := range []int64{0, 2_000_000} {
		for _, test := range []struct {
			what string
			step clock.Ticks27
			anew int
			took time.Duration
		}{
			{"back", -3600 * clock.SystemHz, 1, 4 * time.Second},
			{"ahead", 3600 * clock.SystemHz, 1, 4 * time.Second},
			{"a hole", 4 * clock.SystemHz, 0, 8 * time.Second},
		} {
			synctest.Test(t, func(t *testing.T) {
				var m maker
				for i := range 100 {
					if i == 50 {
						m.pcr = m.pcr.Add(test.step)
					}
					m.span(10)
				}
				want := payload(m.Bytes())
				r, s, err := paced(t, Config{Rate: rate}, &m)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(r.payload(), want) {
					t.Errorf("%s: other packets came out", test.what)
				}
				took := r.list[len(r.list)-1].at - time.Second
				if took < test.took-50*time.Millisecond || took > test.took+50*time.Millisecond || s.Anew != int64(test.anew) || s.Pauses > 0 {
					t.Errorf("rate %d, %s: took %v, %+v", rate, test.what, took, s)
				}
				if rate > 0 {
					checkConstant(t, r, rate, test.anew)
				}
			})
		}
	}
}

// The output follows the broadcast's clock: a stream whose clock is off by 100 parts per million neither runs dry nor falls behind in an hour.
func TestFollowsTheBroadcast(t *testing.T) {
	for _, ppm := range []float64{-100, 100} {
		synctest.Test(t, func(t *testing.T) {
			const spans = 3600 * 25
			begun := time.Now()
			in := &lateReader{m: &maker{}, spans: spans, size: 1, wait: func(i int) {
				due := time.Duration(float64(i+1) * 40e6 * (1 - ppm/1e6))
				time.Sleep(time.Until(begun.Add(due)))
			}}
			var out discard
			s, err := Run(context.Background(), Config{}, in, &out)
			if err != nil {
				t.Fatal(err)
			}
			stream := time.Duration(float64(spans) * 40e6 * (1 - ppm/1e6))
			if off := time.Since(begun) - stream - time.Second; s.Pauses > 0 || off < 0 || off > 120*time.Millisecond { // a span is sent once the next one came; without steering off by 360 ms
				t.Errorf("%v ppm: %v after its time, %+v", ppm, off, s)
			}
		})
	}
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

// A reader that is faster than the stream waits at a bounded number of bytes.
func TestArchiveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		most := 0
		var r *recorder
		in := &lateReader{m: &maker{}, spans: 1000, wait: func(i int) {
			if r != nil {
				most = max(most, i-int(max(0, time.Since(begun)-time.Second)/(40*time.Millisecond)))
			}
		}}
		r = &recorder{t: t, begun: begun}
		if _, err := Run(context.Background(), Config{Buffer: 100 * 11 * ts.PacketSize}, in, r); err != nil {
			t.Fatal(err)
		}
		if most > 110 {
			t.Errorf("%d spans of 1000 were read ahead, room was for 100", most)
		}
	})
}

func TestEnds(t *testing.T) {
	var whole maker
	whole.span(3)
	whole.span(3)
	for _, test := range []struct {
		what string
		in   string
		err  error
	}{
		{"nothing", "", nil},
		{"a torn packet behind", whole.String() + "\x47half", nil},
		{"garbage", strings.Repeat("garbage ", 100), ErrInput},
		{"garbage behind", whole.String() + strings.Repeat("garbage ", 100), ErrInput},
		{"no PCR", payloadOnly(), ErrInput},
	} {
		for _, rate := range []int64{0, 1_000_000} {
			synctest.Test(t, func(t *testing.T) {
				r, _, err := paced(t, Config{Rate: rate}, strings.NewReader(test.in))
				if !errors.Is(err, test.err) {
					t.Errorf("%s: %v", test.what, err)
				}
				if n := len(r.payload()) / ts.PacketSize; strings.Contains(test.what, "behind") && n < 3 {
					t.Errorf("%s: %d packets came out", test.what, n)
				}
			})
		}
	}
}

func payloadOnly() string {
	var m maker
	m.span(20)
	return string(payload(m.Bytes()))
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		over := errors.New("over")
		time.AfterFunc(2*time.Second, func() { cancel(over) })
		in := &lateReader{m: &maker{}, spans: 1 << 30, wait: func(int) { time.Sleep(time.Millisecond) }}
		if _, err := Run(ctx, Config{Buffer: 1 << 20}, in, &discard{}); err != over {
			t.Errorf("%v", err)
		}
	})
}

// Whoever joins a live stream gets at once what there is of the newest group. That does not count as a clock that is faster.
func TestBurstAtTheBeginning(t *testing.T) {
	for _, ppm := range []float64{0, 40} {
		var w wall
		begun := time.Unix(0, 0)
		w.anchor(0, begun.Add(time.Second))
		steepest := 0.0
		for i := range 3600 * 25 {
			media := clock.Ticks27(i) * usual
			at := begun.Add(time.Duration(float64(media.Duration()-1500*time.Millisecond) * (1 - ppm/1e6)))
			if at.Before(begun) {
				at = begun
			}
			w.came(media, at.Add(time.Duration(i%7)*time.Millisecond))
			steepest = max(steepest, w.ppm, -w.ppm)
		}
		if steepest > ppm*1.5+10 || w.ppm < ppm*.7 {
			t.Errorf("a clock that is off by %v ppm: in the end %v, at most %v", ppm, w.ppm, steepest)
		}
	}
}

// Whoever writes into the pacer learns at once that the output has failed, also while nothing is written.
func TestOutputFails(t *testing.T) {
	for _, rate := range []int64{0, 2_000_000} {
		synctest.Test(t, func(t *testing.T) {
			full := errors.New("no space left")
			r, w := io.Pipe()
			go func() {
				var m maker
				for range 5 {
					m.span(10)
				}
				w.Write(m.Bytes())
			}()
			begun := time.Now()
			_, err := Run(context.Background(), Config{Rate: rate}, r, failing{full})
			if !errors.Is(err, full) || time.Since(begun) > 2*time.Second {
				t.Errorf("rate %d: %v after %v", rate, err, time.Since(begun))
			}
			if _, err := w.Write([]byte("more")); !errors.Is(err, full) {
				t.Errorf("rate %d: the writer was told %v", rate, err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Behind an outage that ends with another clock packets are held for the delay again.
func TestDelayAfterAnOutage(t *testing.T) {
	for _, rate := range []int64{0, 2_000_000} {
		synctest.Test(t, func(t *testing.T) {
			m := &maker{}
			in := &lateReader{m: m, spans: 200, wait: func(i int) {
				if i == 100 {
					time.Sleep(10 * time.Second)
					m.pcr = m.pcr.Add(-3600 * clock.SystemHz)
				}
				time.Sleep(40 * time.Millisecond)
			}}
			r, s, err := paced(t, Config{Rate: rate}, in)
			if err != nil {
				t.Fatal(err)
			}
			// 200 spans of 40 ms, 10 s without any, and the delay once more
			if took := r.list[len(r.list)-1].at; took < 18900*time.Millisecond || took > 19200*time.Millisecond || s.Anew < 1 || s.Anew > 2 { // twice where the last packets before came late, too
				t.Errorf("rate %d: all was sent after %v, %+v", rate, took, s)
			}
		})
	}
}
