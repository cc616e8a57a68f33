package chop_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
)

// chunkRows writes the promoted chunks as the table of docs/format/vectors.md has them.
type chunkRows struct {
	channel string
	rows    []string
	group   uint64
	track   string
	pts     uint64
	parts   int
	bytes   int
	hashes  []byte
}

func (c *chunkRows) WriteObject(t object.TrackName, o *object.Object) error {
	if t.Namespace[1] == "source" || !strings.HasPrefix(t.Name, "ts") || o.Status != object.Normal {
		return nil
	}
	p, err := object.ParseProperties(o.Properties)
	if err != nil {
		return err
	}
	if c.parts > 0 && o.Group != c.group {
		c.end()
	}
	if c.parts == 0 {
		c.group, c.track, c.pts = o.Group, t.String(), p.PTS
	}
	sum := object.Sum(o.Payload)
	c.parts, c.bytes, c.hashes = c.parts+1, c.bytes+len(o.Payload), append(c.hashes, sum[:]...)
	return nil
}

func (c *chunkRows) end() {
	if c.parts == 0 {
		return
	}
	sum := object.Sum(c.hashes)
	c.rows = append(c.rows, fmt.Sprintf("| %s | `%s` | %d | %d | %d | %d | %x |\n", c.channel, c.track, c.group, c.pts, c.parts, c.bytes, sum[:8]))
	c.parts, c.bytes, c.hashes = 0, 0, c.hashes[:0]
}

// TestPage: the chunks that docs/format/vectors.md gives to other implementations are those that this one makes.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/vectors.md")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 7, 4, 20, 15, 0, 0, time.UTC)
	var want strings.Builder
	for _, c := range []struct {
		channel string
		heard   time.Duration
	}{{"5.1", 9 * time.Second}, {"101", 40 * time.Second}} {
		m, s := mux(t, c.channel)
		w := chunkRows{channel: c.channel}
		if _, err := chop.Run(context.Background(), chop.Config{}, m.Reader(begin, begin.Add(c.heard), s.Program), &w); err != nil {
			t.Fatal(err)
		}
		w.end()
		if len(w.rows) < 4 {
			t.Fatalf("%d chunks of %s", len(w.rows), c.channel)
		}
		want.WriteString(strings.Join(w.rows[:4], ""))
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("docs/format/vectors.md lacks\n%s", want.String())
	}
}
