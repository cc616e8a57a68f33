package cmdutil

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Greatest lengths in characters: such a line of prose fits a terminal and a review, and such a row of a table, which Markdown cannot
// wrap, holds no text that should stand below the table.
const (
	proseLimit = 150
	rowLimit   = 290
)

// longLines returns the numbers of the lines of a page of Markdown that are too long for prose or for a row. Code may be of any length.
func longLines(page string) (lines []int) {
	fenced, code, before := false, false, ""
	for n, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		// Indented lines are code behind an empty line or a heading, else the rest of a paragraph or of an item of a list.
		if !strings.HasPrefix(line, "    ") {
			code = false
		} else if before == "" || strings.HasPrefix(before, "#") {
			code = true
		}
		before = line
		limit := proseLimit
		if strings.HasPrefix(line, "|") {
			limit = rowLimit
		}
		if !fenced && !code && utf8.RuneCountInString(line) > limit {
			lines = append(lines, n+1)
		}
	}
	return lines
}

// TestProseFits: no line of prose and no row of a table in the repository's pages is longer than its limit.
func TestProseFits(t *testing.T) {
	root, pages := repository(t), 0
	eachPage(t, root, func(path, text string) {
		pages++
		rel, _ := filepath.Rel(root, path)
		for _, n := range longLines(text) {
			t.Errorf("%s:%d: wrap prose over %d characters; a row over %d belongs below its table", rel, n, proseLimit, rowLimit)
		}
	})
	if pages < 30 {
		t.Fatalf("%d pages", pages)
	}
}

// TestGlossary: the rows of docs/glossary.md are in order, none stands twice, and the rooms that they name exist.
func TestGlossary(t *testing.T) {
	root := repository(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/glossary.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) < 30 {
		t.Fatalf("%d rows", len(rows))
	}
	last := ""
	for _, row := range rows[1:] {
		if row[1] <= last {
			t.Errorf("%q stands behind %q", row[1], last)
		}
		last = row[1]
		for _, room := range regexp.MustCompile(`(?:lib|scripts)/\w+`).FindAllString(row[3], -1) {
			if _, err := os.Stat(filepath.Join(root, room)); err != nil {
				t.Errorf("%q: %v", row[1], err)
			}
		}
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("word ", 40)
	for _, c := range []struct {
		name, page string
		found      bool
	}{
		{"paragraph", "short\n" + long, true},
		{"item of a list", "- short\n  " + long, true},
		{"rest of a deep item", "- short\n    " + long, true},
		{"characters, not bytes", strings.Repeat("é", proseLimit), false},
		{"row", "| a |\n| " + long, false},
		{"long row", "| a |\n| " + long + long, true},
		{"code", "so:\n\n    " + long + "\n    " + long, false},
		{"fenced code", "```\n" + long + "\n```", false},
		{"behind code", "```\nshort\n```\n" + long, true},
	} {
		if found := longLines(c.page) != nil; found != c.found {
			t.Errorf("%s: found %v", c.name, found)
		}
	}
}
