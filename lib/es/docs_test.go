package es

import (
	"os"
	"regexp"
	"testing"
)

// docs/format/codecs.md has a row for each codec, with its name and role, and none for others.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/codecs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1)
	listed := map[Codec]bool{}
	for _, r := range rows {
		c := Named(r[1])
		if c.String() != r[1] {
			t.Errorf("row %q: no such codec", r[1])
		}
		if listed[c] {
			t.Errorf("row %q stands twice", r[1])
		}
		listed[c] = true
		if c.Role().String() != r[2] {
			t.Errorf("row %q: role %s, the code says %s", r[1], r[2], c.Role())
		}
	}
	for c := range numCodecs {
		if !listed[c] {
			t.Errorf("%s is missing", c)
		}
	}
}
