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

// TestFlagsOfExamples: the commands that pages of Markdown and manual pages show have flags that the command knows, before its arguments,
// where a tool takes them.
func TestFlagsOfExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every command; skipped with -short")
	}
	root := repository(t)
	dir, names := commands(t, root)
	flags := make(map[string]map[string]bool) // by command: whether a flag is followed by a value
	for _, name := range names {
		help, err := exec.Command(filepath.Join(dir, name), "--help").Output()
		if err != nil {
			t.Fatalf("%s --help: %v", name, err)
		}
		flags[name] = make(map[string]bool)
		for _, line := range strings.Split(string(help), "\n") {
			if m := helpFlag.FindStringSubmatch(line); m != nil {
				for _, f := range strings.Split(m[1], ", ") {
					rest := strings.TrimPrefix(line, "  "+m[1])
					flags[name][f] = strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "  ")
				}
			}
		}
	}
	found := 0
	check := func(path, text string) {
		rel, _ := filepath.Rel(root, path)
		for _, line := range strings.Split(text, "\n") {
			for _, words := range shellCommands(line) {
				if known, is := flags[words[0]]; is {
					found++
					if fault := misplaced(words, known); fault != "" {
						t.Errorf("%s: %s: in %q", rel, fault, strings.TrimSpace(line))
					}
				}
			}
		}
	}
	block := regexp.MustCompile(`(?m)^ {4}\S.*(?:\n {6,}\S.*)*$`)
	eachPage(t, root, func(path, text string) {
		check(path, strings.Join(block.FindAllString(strings.ReplaceAll(text, "\\\n", " "), -1), "\n"))
	})
	pages, err := filepath.Glob(filepath.Join(root, "docs", "man", "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:\.Dl )(ec-.*)$`).FindAllStringSubmatch(string(text), -1) {
			check(path, m[1])
		}
	}
	if found < 100 {
		t.Errorf("only %d commands were found", found)
	}
}

// shellCommands splits a line of a shell into simple commands, roughly: quotes are honoured, a comment and redirections are left out, and
// a substitution is a word without meaning.
func shellCommands(line string) [][]string {
	line = regexp.MustCompile(`(^|\s)#.*`).ReplaceAllString(line, "")
	line = regexp.MustCompile(`"[^"]*"|'[^']*'|\$\([^)]*\)`).ReplaceAllString(line, "QUOTED")
	line = regexp.MustCompile(`[0-9]?[<>]+&?\s*\S+`).ReplaceAllString(line, " ")
	var commands [][]string
	for _, part := range regexp.MustCompile(`[|;&()─▶]+`).Split(line, -1) {
		words := strings.Fields(part)
		for len(words) > 0 && (words[0] == "sudo" || words[0] == "exec" || strings.Contains(words[0], "=")) {
			words = words[1:]
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
	}
	return commands
}

// misplaced says which flag of a command is unknown or stands behind an argument, or "".
func misplaced(words []string, takes map[string]bool) string {
	verbs := []string{"status", "store", "pardon", "ticket", "token", "takedown", "reload", "list", "make", "show", "revoke", "check", "repair", "delete", "add", "lift"}
	argument := ""
	for i := 1; i < len(words); i++ {
		w := words[i]
		name, _, given := strings.Cut(w, "=")
		switch {
		case w == "-" || w == "…" || w == "..." || w == "\\":
		case !strings.HasPrefix(w, "-"):
			if words[0] != "ec-relay" || !slices.Contains(verbs, w) {
				argument = w
			}
		case argument != "":
			return w + " stands behind the argument " + argument
		default:
			value, known := takes[name]
			if !known {
				return words[0] + " has no flag " + name
			}
			if value && !given {
				i++
			}
		}
	}
	return ""
}

func TestMisplaced(t *testing.T) {
	takes := map[string]bool{"--note": true, "--json": false}
	for line, want := range map[string]string{
		"ec-relay takedown add --note 'order 12' ec-atsc-2065-3":     "",
		"ec-relay takedown add ec-atsc-2065-3 --note 'order 12' # a": "--note stands behind the argument ec-atsc-2065-3",
		"ec-relay takedown list --json > file":                       "",
		"ec-relay --notes=x status":                                  "ec-relay has no flag --notes",
	} {
		if got := misplaced(shellCommands(line)[0], takes); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
