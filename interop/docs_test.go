package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// defined are the tests in files.
func defined(t *testing.T, globs ...string) (names []string) {
	t.Helper()
	for _, glob := range globs {
		files, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllSubmatch(b, -1) {
				names = append(names, string(m[1]))
			}
		}
	}
	return names
}

// TestPages: docs/interop names each test of this package, and no test that is not there; its commands run some; its links lead
// somewhere.
func TestPages(t *testing.T) {
	ours := defined(t, "*_test.go")
	all := slices.Concat(ours, defined(t, "../lib/moqt/*_test.go", "../lib/chop/*_test.go"))
	files, err := filepath.Glob("../docs/interop/*.md")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	var text strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)[^):]*\)`).FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), m[1])); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
	for _, m := range regexp.MustCompile("`(Test\\w+)").FindAllStringSubmatch(text.String(), -1) {
		if !slices.Contains(all, m[1]) {
			t.Errorf("%s does not exist", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`go test -v \./interop -run '?([\w|]+)`).FindAllStringSubmatch(text.String(), -1) {
		for one := range strings.SplitSeq(m[1], "|") {
			if !slices.ContainsFunc(ours, func(name string) bool { return strings.Contains(name, one) }) {
				t.Errorf("-run %s runs no test", one)
			}
		}
	}
	for _, name := range ours {
		if name != "TestMain" && name != "TestPages" && !strings.Contains(text.String(), "`"+name) {
			t.Errorf("no page says what came of %s", name)
		}
	}
}
