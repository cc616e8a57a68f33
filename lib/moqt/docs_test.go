package moqt

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestDocumentedTestsExist: docs/moqt.md names the tests that show each row; they must be there.
func TestDocumentedTestsExist(t *testing.T) {
	doc, err := os.ReadFile("../../docs/moqt.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources []byte
	for _, glob := range []string{"*_test.go", "wire/*_test.go", "transport/*_test.go", "transport/qmux/*_test.go", "transport/repair/*_test.go", "../../interop/*_test.go"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, b...)
		}
	}
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(sources, -1) {
		defined[string(m[1])] = true
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(doc, -1)
	if len(named) < 30 {
		t.Fatalf("%d tests named", len(named))
	}
	for _, m := range named {
		if !defined[string(m[1])] {
			t.Errorf("%s does not exist", m[1])
		}
	}
}
