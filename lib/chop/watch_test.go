package chop_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ts"
)

// live is an input in real time: its data come in equal steps. Its clock is that of a synctest bubble, so a pause takes no time.
type live struct {
	data  []byte
	every time.Duration
	steps int

	step int
	part []byte
}

func (l *live) Read(b []byte) (int, error) {
	for len(l.part) == 0 {
		if l.step > 0 {
			time.Sleep(l.every)
		}
		if l.step == l.steps {
			return 0, io.EOF
		}
		l.part = l.data[len(l.data)*l.step/l.steps : len(l.data)*(l.step+1)/l.steps]
		l.step++
	}
	n := copy(b, l.part)
	l.part = l.part[n:]
	return n, nil
}

// TestLiveInputThatYieldsNothing: within 5 s a line says why, and again when the reason changes.
func TestLiveInputThatYieldsNothing(t *testing.T) {
	read := func(number string, d time.Duration, keep func(*ts.Packet) bool) []byte {
		m, s := mux(t, number)
		b, err := io.ReadAll(filtered(m.Reader(epoch, epoch.Add(d), s.Program), keep))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	all := func(*ts.Packet) bool { return true }
	dvb, service := mux(t, "101")
	dvb.TDTEvery, dvb.Habits.NoTOT = time.Second, true
	tdtAlone, err := io.ReadAll(dvb.Reader(epoch, epoch.Add(8*time.Second), service.Program))
	if err != nil {
		t.Fatal(err)
	}
	without := func(pid ts.PID) func(*ts.Packet) bool { return func(p *ts.Packet) bool { return p.PID() != pid } }
	noStart := func(p *ts.Packet) bool { // a sequence header becomes user data
		if b := p.Payload(); p.PID() == 0x31 {
			if i := bytes.Index(b, []byte{0, 0, 1, 0xb3}); i >= 0 {
				b[i+3] = 0xb2
			}
		}
		return true
	}
	const long = 8 * time.Second
	for _, c := range []struct {
		name string
		data [][]byte // each in 8 s
		want []string
	}{
		{"scrambled", [][]byte{read("7.2", long, all)}, []string{"program 2 is scrambled"}},
		{"no PAT", [][]byte{read("5.1", long, without(ts.PIDPAT))}, []string{"no PAT"}},
		{"no PMT", [][]byte{read("5.1", long, without(0x30))}, []string{"no PMT of program 3 on PID 48"}},
		{"no video", [][]byte{read("5.1", long, without(0x31))}, []string{"nothing comes on PID 49"}},
		{"no bytes", [][]byte{nil}, []string{"no input"}},
		{"whole", [][]byte{read("5.1", long, all)}, nil},
		{"no PMT, then no video", [][]byte{read("5.1", long, without(0x30)), read("5.1", long, without(0x31))},
			[]string{"no PMT of program 3 on PID 48", "nothing comes on PID 49"}},
		{"the video ends, and comes again", [][]byte{read("5.1", long, all), read("5.1", long, without(0x31)), read("5.1", long, all)},
			[]string{"nothing comes on PID 49", "being cut again"}},
		{"random access points end, and come again", [][]byte{read("5.1", long, all), read("5.1", long, noStart), read("5.1", long, all)},
			[]string{"no random access point on PID 49", "being cut again"}},
		{"TDT alone", [][]byte{tdtAlone}, []string{"no TOT says otherwise"}},
	} {
		given := time.Duration(0)
		if c.name == "TDT alone" {
			given = 2 * time.Second // the first chunk is not the broadcast's, whatever the time is
		}
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				start := time.Now()
				var inputs []io.Reader
				for _, data := range c.data {
					inputs = append(inputs, &live{data: data, every: 100 * time.Millisecond, steps: int(long / (100 * time.Millisecond))})
				}
				_, _ = chop.Run(context.Background(), chop.Config{Source: "x", Log: slog.New(slog.NewTextHandler(&log, nil))}, io.MultiReader(inputs...), object.NewWriter(io.Discard))
				rest := log.String()
				if len(c.want) == 0 && strings.Contains(rest, "nothing to publish") {
					t.Errorf("said without need: %s", rest)
				}
				for i, want := range c.want {
					at := strings.Index(rest, want)
					if at < 0 {
						t.Fatalf("no line says %q:\n%s", want, log.String())
					}
					line := rest[strings.LastIndexByte(rest[:at], '\n')+1:]
					stamp, err := time.Parse("time=2006-01-02T15:04:05.999Z07:00", strings.Fields(line)[0])
					if late := stamp.Sub(start) - long*time.Duration(i); err == nil && i == 0 && len(c.data) == 1 && late > given+5*time.Second {
						t.Errorf("%q is said after %v", want, late)
					} else if err != nil {
						t.Error(err)
					}
					rest = rest[at+len(want):]
				}
			})
		})
	}
}

// TestEncoderTakesItsTime: an encoder in front that looks at its input for a while before anything comes is no reason for a warning; one
// from which nothing comes is.
func TestEncoderTakesItsTime(t *testing.T) {
	m, s := mux(t, "5.1")
	data, err := io.ReadAll(m.Reader(epoch, epoch.Add(8*time.Second), s.Program))
	if err != nil {
		t.Fatal(err)
	}
	const step = 100 * time.Millisecond
	for _, c := range []struct {
		rendition string
		pause     time.Duration
		said      bool
	}{{"x", 6 * time.Second, false}, {"", 6 * time.Second, true}, {"x", 20 * time.Second, true}} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			in := io.MultiReader(&live{every: step, steps: int(c.pause / step)}, &live{data: data, every: step, steps: 80})
			conf := chop.Config{Source: "x", Rendition: c.rendition, Log: slog.New(slog.NewTextHandler(&log, nil))}
			if _, err := chop.Run(context.Background(), conf, in, object.NewWriter(io.Discard)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "nothing to publish"); got != c.said {
				t.Errorf("rendition %q after %v: %s", c.rendition, c.pause, &log)
			}
		})
	}
}
