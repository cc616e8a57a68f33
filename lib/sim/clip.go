package sim

import (
	"bufio"
	"embed"
	"fmt"
	"slices"
	"strings"

	"every.channel/ec/lib/clock"
)

// media holds the clips; scripts/make-sim-media makes them and says what is in the files.
//
//go:embed media/*.es media/*.idx
var media embed.FS

// A unit is one access unit of a clip, in decode order.
type unit struct {
	data    []byte
	reorder clock.Ticks // PTS − DTS
	key     bool
}

// A clip is one elementary stream that can be repeated for ever.
type clip struct {
	codec string
	frame clock.Ticks // duration of one access unit
	units []unit
}

// audio tells whether the clip is audio.
func (c *clip) audio() bool { return c.codec != "mpeg2video" && c.codec != "h264" }

// loadClip returns an embedded clip.
func loadClip(name string) (*clip, error) {
	idx, err := media.ReadFile("media/" + name + ".idx")
	if err != nil {
		return nil, fmt.Errorf("clip %q: not one of %s", name, strings.Join(ClipNames(), ", "))
	}
	es, err := media.ReadFile("media/" + name + ".es")
	if err != nil {
		return nil, fmt.Errorf("clip %q: %w", name, err)
	}
	c, err := parseClip(string(idx), es)
	if err != nil {
		return nil, fmt.Errorf("clip %q: %w", name, err)
	}
	return c, nil
}

// ClipNames lists the clips that a Service can send.
func ClipNames() []string {
	entries, err := media.ReadDir("media")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".idx"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func parseClip(idx string, es []byte) (*clip, error) {
	lines := bufio.NewScanner(strings.NewReader(idx))
	if !lines.Scan() {
		return nil, fmt.Errorf("index is empty")
	}
	c := &clip{}
	var num, den int64
	if _, err := fmt.Sscanf(lines.Text(), "%s %d/%d", &c.codec, &num, &den); err != nil {
		return nil, fmt.Errorf("index line 1: %w", err)
	}
	if num <= 0 || den <= 0 || clock.Hz*den%num != 0 {
		return nil, fmt.Errorf("a frame of %d/%d s is not a whole number of 90 kHz ticks", den, num)
	}
	c.frame = clock.Ticks(clock.Hz * den / num)
	for n := 2; lines.Scan(); n++ {
		var size, reorder, key int
		if _, err := fmt.Sscanf(lines.Text(), "%d %d %d", &size, &reorder, &key); err != nil {
			return nil, fmt.Errorf("index line %d: %w", n, err)
		}
		if size <= 0 || size > len(es) || reorder < 0 {
			return nil, fmt.Errorf("index line %d: %d bytes, reorder %d", n, size, reorder)
		}
		c.units = append(c.units, unit{es[:size:size], clock.Ticks(reorder) * c.frame, key == 1})
		es = es[size:]
	}
	if len(es) != 0 || len(c.units) == 0 {
		return nil, fmt.Errorf("index and stream differ by %d bytes", len(es))
	}
	return c, lines.Err()
}
