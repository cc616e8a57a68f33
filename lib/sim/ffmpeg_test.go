package sim

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/ts"
)

// fromKey drops the packets of a PID before its first random access point.
func fromKey(b []byte, pid ts.PID) []byte {
	var out []byte
	found := false
	for ; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
		p := (*ts.Packet)(b)
		found = found || p.PID() == pid && p.RandomAccess()
		if found || p.PID() != pid {
			out = append(out, p[:]...)
		}
	}
	return out
}

// A decoder that is not ours must find nothing to complain about, over the seams of the loops and the
// wrap of the clock.
func TestFFmpegDecodes(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	for _, m := range DefaultMuxes() {
		m.WrapAt = noon.Add(6 * time.Second)
		for _, s := range m.Services {
			if s.Scrambled || s.Dead {
				continue
			}
			t.Run(s.Number, func(t *testing.T) {
				b := readAll(t, m.Reader(noon, noon.Add(14*time.Second), s.Program))
				if s.Video != "" {
					b = fromKey(b, s.videoPID())
				}
				cmd := exec.Command(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "warning",
					"-f", "mpegts", "-i", "-", "-map", "0:v?", "-map", "0:a", "-f", "framecrc", "-")
				cmd.Stdin = bytes.NewReader(b)
				var frames, complaints bytes.Buffer
				cmd.Stdout, cmd.Stderr = &frames, &complaints
				if err := cmd.Run(); err != nil || complaints.Len() > 0 {
					t.Errorf("%v\n%s", err, complaints.String())
				}
				streams := map[string]int{}
				for line := range strings.Lines(frames.String()) {
					if line[0] != '#' {
						streams[line[:1]]++
					}
				}
				want := 1
				if s.Video != "" && s.Audio != "" {
					want = 2
				}
				if len(streams) != want {
					t.Errorf("frames by stream: %v, want %d streams", streams, want)
				}
				for i, n := range streams {
					if n < 10*25 {
						t.Errorf("%d frames of stream %s in 14 s", n, i)
					}
				}
			})
		}
	}
}
