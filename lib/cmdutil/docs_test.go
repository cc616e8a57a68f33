package cmdutil

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commands builds every cmd/* and returns where.
func commands(t *testing.T, root string) (dir string, names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "cmd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "./cmd/...")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/...: %v\n%s", err, out)
	}
	return dir, names
}

var (
	helpFlag = regexp.MustCompile(`(?m)^  (-[^ ,]+(?:, -[^ ,]+)*)`)
	manFlag  = regexp.MustCompile(`(?m)^\.It Fl (.*)$`)
)

// TestManPages: every command has a page that mandoc accepts, with the flags of --help and no others, and
// says what a page must say.
func TestManPages(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every command; skipped with -short")
	}
	root := repository(t)
	dir, names := commands(t, root)
	mandoc, err := exec.LookPath("mandoc")
	lint := func(t *testing.T, file string) {
		t.Helper()
		if err != nil {
			return
		}
		if out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("mandoc -Tlint: %v\n%s", err, out)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(root, "docs", "man", name+".1")
			page, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			help, helpErr := exec.Command(filepath.Join(dir, name), "--help").Output()
			if helpErr != nil {
				t.Fatalf("%s --help: %v", name, helpErr)
			}
			var inHelp, inPage []string
			for _, m := range helpFlag.FindAllStringSubmatch(string(help), -1) {
				inHelp = append(inHelp, strings.Split(m[1], ", ")...)
			}
			for _, m := range manFlag.FindAllStringSubmatch(string(page), -1) {
				inPage = append(inPage, manFlags(m[1])...)
			}
			for _, f := range inHelp {
				if !slices.Contains(inPage, f) {
					t.Errorf("%s is in --help and not in the page", f)
				}
			}
			for _, f := range inPage {
				if !slices.Contains(inHelp, f) {
					t.Errorf("%s is in the page and not in --help", f)
				}
			}
			for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"} {
				if !strings.Contains(string(page), "\n.Sh "+section+"\n") {
					t.Errorf("no section %s", section)
				}
			}
			lint(t, file)
		})
	}
	// The desktop's command is not in cmd; its flags are compared in desktop/.
	t.Run("every-channel", func(t *testing.T) { lint(t, filepath.Join(root, "docs", "man", "every-channel.1")) })
	if err != nil {
		t.Skip("pages are not linted: mandoc is missing")
	}
}

// manFlags reads the flags of a line "-output Ar FILE , Fl o Ar FILE" or "-help , h".
func manFlags(line string) (flags []string) {
	expect := true
	for _, w := range strings.Fields(line) {
		switch w {
		case "Fl", ",":
			expect = true
		case "Ar", "Cm", "Ns", "=":
			expect = false
		default:
			if expect {
				flags = append(flags, "-"+w)
			}
			expect = false
		}
	}
	return flags
}

func TestManFlags(t *testing.T) {
	for line, want := range map[string][]string{
		"-output Ar FILE , Fl o Ar FILE": {"--output", "-o"},
		"-help , h":                      {"--help", "-h"},
		"-log Cm text | json":            {"--log"},
		"-verbose , Fl v":                {"--verbose", "-v"},
	} {
		if got := manFlags(line); !slices.Equal(got, want) {
			t.Errorf("manFlags(%q) = %q, want %q", line, got, want)
		}
	}
}
