package cmdutil

import (
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"every.channel/ec/lib/hdhr"
)

var (
	link          = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading       = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInFragment = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// hasHeading reports whether a page of Markdown has a heading to which a fragment leads: its words in lower case, with - for spaces.
func hasHeading(page, fragment string) bool {
	text, err := os.ReadFile(page)
	if err != nil {
		return false
	}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		words := notInFragment.ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(words, " ", "-") == fragment {
			return true
		}
	}
	return false
}

// TestREADME: links between the repository's pages lead somewhere, to a heading if they name one, and the README names the commands that
// show and test the product.
func TestREADME(t *testing.T) {
	root := repository(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"scripts/demo", "scripts/test"} {
		if !strings.Contains(string(readme), want) {
			t.Errorf("README.md does not name %s", want)
		}
		if st, err := os.Stat(filepath.Join(root, want)); err != nil || st.Mode()&0o111 == 0 {
			t.Errorf("%s is missing or not executable: %v", want, err)
		}
	}
	eachPage(t, root, func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.Scheme != "" {
				continue
			}
			target := path
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(target); err != nil || u.Fragment != "" && !hasHeading(target, u.Fragment) {
				rel, _ := filepath.Rel(root, path)
				t.Errorf("%s: link %s leads nowhere", rel, m[1])
			}
		}
	})
}

// eachPage visits the repository's Markdown.
func eachPage(t *testing.T, root string, visit func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "target") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(path, string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestREADMECommands: every ec- command that the README shows exists.
func TestREADMECommands(t *testing.T) {
	root := repository(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`(?m)(?:^ {4}|\| )(ec-[a-z]+) `).FindAllStringSubmatch(string(readme), -1) {
		if _, err := os.Stat(filepath.Join(root, "cmd", name[1])); err != nil {
			t.Errorf("README.md shows %s: %v", name[1], err)
		}
	}
}

// TestREADMEVersions: the README names the versions of Go, Node and Rust that the files of this repository ask for.
func TestREADMEVersions(t *testing.T) {
	root := repository(t)
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	readme := read("README.md")
	for _, c := range []struct{ what, file, version string }{
		{"Go", "go.mod", `(?m)^go (\S+)$`},
		{"Node", "web/package.json", `"node": ">=(\d+)"`},
		{"Rust", "bridge/Cargo.toml", `rust-version = "(.*)"`},
	} {
		m := regexp.MustCompile(c.version).FindStringSubmatch(read(c.file))
		if m == nil || !strings.Contains(readme, c.what+" "+m[1]) {
			t.Errorf("%s names version %q of %s, and the README does not", c.file, m, c.what)
		}
	}
}

// TestDeviceIDs: ids of devices in the pages have a right checksum, so that a tool takes them.
func TestDeviceIDs(t *testing.T) {
	found := 0
	eachPage(t, repository(t), func(path, text string) {
		for _, m := range regexp.MustCompile(`--(?:device|id) ([0-9A-F]{8})\b`).FindAllStringSubmatch(text, -1) {
			found++
			if _, err := hdhr.ParseDeviceID(m[1]); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	if found == 0 {
		t.Error("no page names a device")
	}
}

// TestServiceUnits: systemd accepts the units in dist/systemd.
func TestServiceUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is missing")
	}
	self, err := os.Executable() // there are no programs of ours in /usr/bin
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob(filepath.Join(repository(t), "dist/systemd/*.*"))
	if err != nil || len(units) < 3 {
		t.Fatalf("units %q, %v", units, err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, path := range units {
		unit, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		unit = regexp.MustCompile(`/usr/bin/ec-[a-z]+`).ReplaceAll(unit, []byte(self))
		file := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(file, unit, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
