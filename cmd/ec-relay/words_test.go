package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"every.channel/ec/lib/relay"
)

// TestWordsAreDocumented: the usage, the README and the manual page name every word that asks a relay, and the page says of every setting
// that may be read again that it may.
func TestWordsAreDocumented(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("docs/man/ec-relay.1")
	_, door, _ := strings.Cut(page, "\n.It Pa DIR/admin.sock\n")
	door, _, _ = strings.Cut(door, "\n.It ")
	_, readme, found := strings.Cut(read("README.md"), "Flags stand before arguments")
	readme, _, end := strings.Cut(readme, "\n\n")
	if !found || !end {
		t.Fatal("README.md does not say where flags stand")
	}
	for _, v := range verbs() {
		word := regexp.MustCompile(`\b` + v.Name + `\b`)
		for where, text := range map[string]string{"the usage": app().UsageText, "README.md": readme, "DIR/admin.sock in ec-relay.1": door} {
			if !word.MatchString(text) {
				t.Errorf("%s does not name %s", where, v.Name)
			}
		}
		if !strings.Contains(page, "\n.It Cm "+v.Name+"\n") {
			t.Errorf("ec-relay.1 does not describe %s", v.Name)
		}
	}
	_, reload, _ := strings.Cut(page, "\n.It Cm reload\n")
	reload, _, _ = strings.Cut(reload, "\n.It ")
	for _, name := range relay.Reloadable {
		if !regexp.MustCompile(`(?m) -` + regexp.QuoteMeta(name) + `\b[^-]`).MatchString(reload + " ") {
			t.Errorf("ec-relay.1 does not say under reload that --%s is read again", name)
		}
	}
}
