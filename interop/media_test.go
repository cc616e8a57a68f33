package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"every.channel/ec/interop/foreign"
)

// encodeH264 makes two minutes of video with ffmpeg, and gives its slices in order.
func encodeH264(t *testing.T) (file string, slices [][]byte) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is missing")
	}
	file = filepath.Join(t.TempDir(), "source.h264")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "120",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-threads", "1", file).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if slices = slicesOf(annexB(b)); len(slices) < 500 {
		t.Fatalf("%d slices encoded", len(slices))
	}
	return file, slices
}

// checkRun checks that got is a run of want, in order and byte for byte, with no more than holes left out.
func checkRun(t *testing.T, where string, got, want [][]byte, holes int) {
	t.Helper()
	if len(got) < 50 {
		t.Fatalf("%s: %d slices", where, len(got))
	}
	at, start, left := 0, 0, 0
	for i, b := range got {
		from := at
		for at < len(want) && !bytes.Equal(b, want[at]) {
			at++
		}
		if at == len(want) {
			t.Fatalf("%s: slice %d of %d, the first of which is slice %d of ffmpeg's, is not one of those after it", where, i, len(got), start)
		}
		if i == 0 {
			start = at
		} else {
			left += at - from
		}
		at++
	}
	if left > holes {
		t.Errorf("%s: %d of %d slices missing", where, left, left+len(got))
	}
	t.Logf("%s: %d slices from %d on, byte for byte, %d left out", where, len(got), start, left)
}

// annexB splits a byte stream at its start codes.
func annexB(b []byte) (units [][]byte) {
	for i, part := range bytes.Split(b, []byte{0, 0, 1}) {
		if i > 0 {
			units = append(units, bytes.TrimRight(part, "\x00"))
		}
	}
	return units
}

// avcc splits units with a length before each.
func avcc(b []byte) (units [][]byte) {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-4 {
			return nil
		}
		units, b = append(units, b[4:4+n]), b[4+n:]
	}
	return units
}

// slicesOf leaves parameter sets and messages out, which come and go on the way.
func slicesOf(units [][]byte) (slices [][]byte) {
	for _, u := range units {
		if len(u) > 0 && u[0]&0x1f >= 1 && u[0]&0x1f <= 5 {
			slices = append(slices, u)
		}
	}
	return slices
}

// play gives out a file of encodeH264 in its own time, as ffmpeg packs it with the arguments, until the end of the test.
func play(t *testing.T, file string, args ...string) io.Reader {
	t.Helper()
	out, into := io.Pipe()
	foreign.Run(t, nil, into, "ffmpeg", append([]string{"-v", "error", "-re", "-f", "h264", "-framerate", "25", "-i", file, "-c", "copy"}, args...)...)
	t.Cleanup(func() { out.Close() })
	return out
}

// collect reads what a program writes until it holds n units, as units finds them in all that was written.
func collect(t *testing.T, n int, units func([]byte) [][]byte, program string, args ...string) [][]byte {
	t.Helper()
	out, into := io.Pipe()
	foreign.Run(t, nil, into, program, args...)
	t.Cleanup(func() { out.Close() }) // first of all: who still writes would be waited for
	late := time.AfterFunc(patience, func() { into.CloseWithError(fmt.Errorf("no more after %v", patience)) })
	defer late.Stop()
	var text bytes.Buffer
	var got [][]byte
	for len(got) < n {
		if _, err := io.CopyN(&text, out, 1000); err != nil {
			t.Fatalf("%d units came: %v", len(got), err)
		}
		got = units(text.Bytes())
	}
	return got
}
