package cmdutil

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/settings"
)

// commonFlags are shared by all commands. They come last in --help.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log", Value: "text", Usage: "write log lines to stderr as `text|json`", Category: common},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log details too", Category: common},
		&cli.BoolFlag{Name: "version", Usage: "print the version and exit", Category: common},
		&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print this text and exit", Category: common},
		&cli.StringFlag{Name: "completion", Usage: "print a completion script for `bash|zsh|fish` and exit", Category: common},
	}
}

const common = "common"

// asksOnly are flags that print something and exit; they have no environment variable.
var asksOnly = map[string]bool{"version": true, "help": true, "completion": true}

// prepare completes app: common flags, environment variables, and the corrections to urfave/cli.
func prepare(app *cli.App, t *terminal) {
	have := map[string]bool{}
	for _, f := range app.Flags {
		for _, n := range f.Names() {
			have[n] = true
		}
	}
	for _, f := range commonFlags() {
		if !have[f.Names()[0]] {
			app.Flags = append(app.Flags, f)
		}
	}
	var required []string
	for _, f := range app.Flags {
		name := f.Names()[0]
		v := reflect.ValueOf(f).Elem() // every flag type of urfave/cli is a struct with these fields
		if env := v.FieldByName("EnvVars"); env.IsValid() && env.Len() == 0 && !asksOnly[name] {
			env.Set(reflect.ValueOf(envNames(app.Name, name)))
		}
		if r := v.FieldByName("Required"); r.IsValid() && r.Bool() {
			required = append(required, name)
			r.SetBool(false) // urfave/cli would print the help to stdout
		}
	}
	app.HideHelp, app.HideHelpCommand, app.HideVersion = true, true, true
	app.ErrWriter = t
	app.ExitErrHandler = func(*cli.Context, error) {} // it would exit by itself
	app.OnUsageError = func(c *cli.Context, err error, _ bool) error { return usage(app, badValue(app, err)) }
	if app.Metadata == nil {
		app.Metadata = map[string]any{}
	}
	app.Metadata[terminalKey] = t

	before := app.Before
	app.Before = func(c *cli.Context) error {
		for _, name := range required {
			if !c.IsSet(name) || fmt.Sprint(c.Value(name)) == "" {
				return usage(app, fmt.Errorf("--%s is needed", name))
			}
		}
		if l := c.String("log"); l != "text" && l != "json" {
			return usage(app, fmt.Errorf("--log %q: neither text nor json", l))
		}
		t.json = c.String("log") == "json"
		if before != nil {
			return before(c)
		}
		return nil
	}
}

// envNames gives the variables of a flag: the command's own first, because flags of two commands in one
// pipeline may share a name.
func envNames(app, flag string) []string {
	f := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	tool, _ := strings.CutPrefix(app, "ec-")
	return []string{"EC_" + strings.ToUpper(strings.ReplaceAll(tool, "-", "_")) + "_" + f, "EC_" + f}
}

// usage makes err a usage error that names --help unless it has a better hint.
func usage(app *cli.App, err error) error {
	if exit.Hint(err) == "" {
		err = Hint(err, app.Name+" --help lists flags and arguments")
	}
	return UsageError(err)
}

// asked is what was asked for in place of the command's work.
type asked struct {
	help, version bool
	completion    string
}

// verbsKey is where app.Metadata has what Verbs was told.
const verbsKey = "verbs"

// Verb is a word that the first argument may be.
type Verb struct {
	Name, Usage string
	// Flags are those that go with the word, besides those of every command; others go without.
	Flags []string
	// Words may follow the word, with flags in between.
	Words []string
}

// Verbs tells that the first argument may be one of some words, which flags may follow as well as precede.
func Verbs(app *cli.App, verbs ...Verb) {
	if app.Metadata == nil {
		app.Metadata = map[string]any{}
	}
	app.Metadata[verbsKey] = verbs
}

func verbsOf(app *cli.App) []Verb {
	verbs, _ := app.Metadata[verbsKey].([]Verb)
	return verbs
}

func isVerb(app *cli.App, word string) bool {
	return slices.ContainsFunc(verbsOf(app), func(v Verb) bool { return v.Name == word })
}

// mayFollow reports whether a word is one of those that follow another.
func mayFollow(app *cli.App, first, word string) bool {
	return slices.ContainsFunc(verbsOf(app), func(v Verb) bool { return v.Name == first && slices.Contains(v.Words, word) })
}

// givenKey is where app.Metadata has the flags that stand on the command line.
const givenKey = "given"

// Given reports whether a flag stands on the command line. A variable sets a flag too, but EC_JSON may be meant for another command:
// what excludes a flag must not exclude its variable.
func Given(c *cli.Context, name string) bool {
	given, _ := c.App.Metadata[givenKey].(map[string]bool)
	return given[name]
}

// scan separates flags from arguments as getopt does without permutation, but refuses what looks like a flag
// after the first argument: urfave/cli would take it for an argument without a word. It returns the arguments
// with "--" in between, so that later parsing cannot see them otherwise.
func scan(app *cli.App, args []string) (_ []string, ask asked, err error) {
	takesValue, first, given := map[string]bool{}, map[string]string{}, map[string]bool{}
	for _, f := range app.Flags {
		for _, n := range f.Names() {
			d, ok := f.(cli.DocGenerationFlag)
			takesValue[n], first[n] = ok && d.TakesValue(), f.Names()[0]
		}
	}
	if app.Metadata == nil {
		app.Metadata = map[string]any{}
	}
	app.Metadata[givenKey] = given
	flags, rest := []string{args[0]}, args[1:]
	var verb []string
	for len(rest) > 0 {
		a := rest[0]
		if verb == nil && isVerb(app, a) {
			verb, rest = rest[:1], rest[1:]
			continue
		}
		if len(verb) == 1 && mayFollow(app, verb[0], a) {
			verb, rest = append(verb[:1:1], a), rest[1:]
			continue
		}
		if !looksLikeFlag(a) || a == "--" {
			break
		}
		name, value, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		takes, known := takesValue[name]
		if !known {
			return nil, ask, usage(app, suggest(app, a, name))
		}
		n := 1
		if takes && !inline {
			if len(rest) < 2 {
				return nil, ask, usage(app, fmt.Errorf("%s needs a value", a))
			}
			n, value = 2, rest[1]
		}
		given[first[name]] = true
		switch name {
		case "help", "h":
			ask.help = true
		case "version":
			ask.version = true
		case "completion":
			if ask.completion = value; completions[value] == nil {
				return nil, ask, usage(app, fmt.Errorf("--completion %q: not bash, zsh or fish", value))
			}
		}
		flags, rest = append(flags, rest[:n]...), rest[n:]
	}
	flags = append(append(flags, "--"), verb...)
	if len(rest) > 0 && rest[0] == "--" {
		return append(flags, rest[1:]...), ask, nil
	}
	for i, a := range rest {
		if a == "--" {
			return append(append(flags, rest[:i]...), rest[i+1:]...), ask, nil
		}
		if looksLikeFlag(a) {
			name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
			switch name { // asking for help is never wrong
			case "help", "h":
				return flags, asked{help: true}, nil
			case "version":
				return flags, asked{version: true}, nil
			}
			return nil, ask, UsageError(Hint(fmt.Errorf("flag %s after the argument %q", a, rest[i-1]), flagsFirst(app, verb, a)))
		}
	}
	return append(flags, rest...), ask, nil
}

// flagsFirst says where a flag goes that stands after an argument, or an argument that only looks like one. The flag's value may be a secret.
func flagsFirst(app *cli.App, verb []string, arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	for _, f := range app.Flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		dashes := arg[:len(arg)-len(strings.TrimLeft(arg, "-"))]
		words := append(append([]string{app.Name}, verb...), dashes+name)
		if value := placeholder(f); value != "" {
			words = append(words, value)
		}
		return "flags go before arguments: " + strings.Join(words, " ") + " …"
	}
	return fmt.Sprintf("flags go before arguments; an argument that starts with - goes after --: %s -- %s", app.Name, arg)
}

// refusals are how package flag, and urfave/cli for variables of the environment, tell of a value that a flag does not take. The names of the
// groups say what stands where.
var refusals = []*regexp.Regexp{
	regexp.MustCompile(`^invalid (?:boolean )?value (?P<value>"(?:[^"\\]|\\.)*") for (?:flag )?-(?P<flag>[^:]+): (?P<why>.*)$`),
	regexp.MustCompile(`^could not parse (?P<value>"(?:[^"\\]|\\.)*") as .* value from environment variable "(?P<env>[^"]+)" for flag (?P<flag>[^:]+): (?P<why>.*)$`),
	regexp.MustCompile(`^could not parse (?P<value>"(?:[^"\\]|\\.)*") from environment variable "(?P<env>[^"]+)" as .*value for flag (?P<flag>[^:]+): (?P<why>.*)$`),
}

// badValue says which value a flag does not take, with the flag's two dashes or the variable that has the value, and what it takes where the
// reason does not tell.
func badValue(app *cli.App, err error) error {
	for _, r := range refusals {
		m := r.FindStringSubmatch(err.Error())
		if m == nil {
			continue
		}
		part := func(name string) string {
			if i := r.SubexpIndex(name); i >= 0 {
				return m[i]
			}
			return ""
		}
		value, name := part("value"), part("flag")
		where := part("env")
		switch {
		case where != "":
		case len(name) == 1:
			where = "-" + name
		default:
			where = "--" + name
		}
		return fmt.Errorf("%s %s: %s", where, value, strings.TrimPrefix(reason(app, name, part("why")), value+" is "))
	}
	return err
}

// reason is why a flag does not take a value: by the kind of the flag, where there are only words of package flag, time or strconv.
func reason(app *cli.App, name, why string) string {
	if why != "parse error" && why != "value out of range" && !strings.HasPrefix(why, "strconv.") && !strings.HasPrefix(why, "time: ") {
		return why
	}
	for _, f := range app.Flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return "not a time such as 90s, 30m or 48h"
		case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag, *cli.Float64Flag:
			return "not a number, or out of range"
		case *cli.BoolFlag:
			return "neither true nor false"
		}
	}
	return "cannot be read"
}

// SetFlag sets a flag to a value from elsewhere than the command line, and says what it takes if it does not take the value.
func SetFlag(c *cli.Context, name, value string) error {
	if err := c.Set(name, value); err != nil {
		return fmt.Errorf("%s %q: %s", name, value, strings.TrimPrefix(reason(c.App, name, err.Error()), strconv.Quote(value)+" is "))
	}
	return nil
}

// ReadFile sets the flags that stand in the file of --config and that neither the command line nor the environment sets. never are
// those that a file cannot set, besides those of every command that print something.
func ReadFile(c *cli.Context, never ...string) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	lines, err := settings.Read(path, c.App.Name)
	if err != nil {
		return err
	}
	given := make(map[string]bool)
	for _, f := range c.App.Flags {
		given[f.Names()[0]] = c.IsSet(f.Names()[0])
	}
	for _, l := range lines {
		set, known := given[l.Name]
		switch {
		case !known, l.Name == "config", asksOnly[l.Name], slices.Contains(never, l.Name):
			return l.Wrong(path, c.App.Name, fmt.Errorf("unknown setting %q", l.Name))
		case set:
			continue
		}
		if err := SetFlag(c, l.Name, l.Value); err != nil {
			return l.Wrong(path, c.App.Name, err)
		}
	}
	return nil
}

func looksLikeFlag(a string) bool { return len(a) > 1 && a[0] == '-' }

func suggest(app *cli.App, arg, name string) error {
	err := fmt.Errorf("unknown flag %s", arg)
	best, least := "", 0
	for _, f := range app.Flags {
		for _, known := range f.Names() {
			if n := edits(name, known); len(known) > 1 && n <= 1+len(name)/4 && (best == "" || n < least) {
				best, least = known, n
			}
		}
	}
	if len(name) > 1 && best != "" {
		err = Hint(err, fmt.Sprintf("is it --%s? %s --help lists all flags", best, app.Name))
	}
	return err
}

// edits counts the letters to insert, remove, replace or swap with their neighbour that make b of a (optimal string alignment).
func edits(a, b string) int {
	var before, last []int // the rows of the table for the two prefixes of a before this one
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// NoArgs refuses arguments.
func NoArgs(c *cli.Context) error { return Args(c, 0, 0) }

// Args refuses fewer than min and, unless max is negative, more than max arguments.
func Args(c *cli.Context, min, max int) error {
	switch n := c.NArg(); {
	case n < min && c.App.ArgsUsage != "":
		return usage(c.App, fmt.Errorf("missing argument: %s %s", c.App.Name, c.App.ArgsUsage))
	case n < min:
		return usage(c.App, errors.New("missing argument"))
	case max >= 0 && n > max:
		return usage(c.App, fmt.Errorf("unexpected argument %q", c.Args().Get(max)))
	}
	return nil
}
