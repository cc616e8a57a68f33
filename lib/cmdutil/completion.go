package cmdutil

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completions writes a completion script per shell.
var completions = map[string]func(*bytes.Buffer, *cli.App){
	"bash": bashCompletion,
	"zsh":  zshCompletion,
	"fish": fishCompletion,
}

func writeCompletion(w io.Writer, app *cli.App, shell string) error {
	var b bytes.Buffer
	completions[shell](&b, app)
	_, err := w.Write(b.Bytes())
	return err
}

// completionFlag is a flag as completion scripts see it.
type completionFlag struct {
	names   []string // with dashes
	common  bool     // of every command
	value   string   // placeholder, "" for a switch
	choices []string // when the placeholder is a|b|c
	text    string
}

func completionFlags(app *cli.App) (list []completionFlag) {
	for _, f := range app.Flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		c := completionFlag{value: placeholder(f)}
		if g, ok := f.(cli.CategorizableFlag); ok {
			c.common = g.GetCategory() == common
		}
		for _, n := range f.Names() {
			if len(n) == 1 {
				c.names = append(c.names, "-"+n)
			} else {
				c.names = append(c.names, "--"+n)
			}
		}
		if strings.Contains(c.value, "|") {
			c.choices = strings.Split(c.value, "|")
		}
		if d, ok := f.(cli.DocGenerationFlag); ok {
			c.text = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		list = append(list, c)
	}
	return list
}

// with reports whether a flag goes with a verb.
func (f completionFlag) with(v Verb) bool {
	return f.common || slices.ContainsFunc(f.names, func(n string) bool { return slices.Contains(v.Flags, strings.TrimLeft(n, "-")) })
}

// names are those of all flags, with dashes.
func names(flags []completionFlag) (all []string) {
	for _, f := range flags {
		all = append(all, f.names...)
	}
	return all
}

// withVerb are the flags that go with a verb.
func withVerb(flags []completionFlag, v Verb) (list []completionFlag) {
	for _, f := range flags {
		if f.with(v) {
			list = append(list, f)
		}
	}
	return list
}

// verbNames are the words, with sep between.
func verbNames(verbs []Verb, sep string) string {
	var list []string
	for _, v := range verbs {
		list = append(list, v.Name)
	}
	return strings.Join(list, sep)
}

// writeVerbLoop finds the verb among words of the shell, from the first argument up to the word that is completed. A word behind
// a flag that takes a value is none.
func writeVerbLoop(b *bytes.Buffer, flags []completionFlag, verbs []Verb, first, word string) {
	var takes []string
	for _, f := range flags {
		if f.value != "" {
			takes = append(takes, f.names...)
		}
	}
	fmt.Fprintf(b, "  local i verb=\n  for ((i = %s; i++)); do\n    case %s in\n    %s) ((i++)) ;;\n    %s) verb=%s; break ;;\n    esac\n  done\n",
		first, word, strings.Join(takes, "|"), verbNames(verbs, "|"), word)
}

func bashCompletion(b *bytes.Buffer, app *cli.App) {
	fn := "_" + strings.ReplaceAll(app.Name, "-", "_")
	flags, verbs := completionFlags(app), verbsOf(app)
	fmt.Fprintf(b, "# bash completion for %s: source <(%s --completion bash)\n%s() {\n", app.Name, app.Name, fn)
	b.WriteString("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n  COMPREPLY=()\n  case $prev in\n")
	for _, f := range flags {
		switch pattern := strings.Join(f.names, "|"); {
		case f.choices != nil:
			fmt.Fprintf(b, "  %s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", pattern, strings.Join(f.choices, " "))
		case f.value == "FILE" || f.value == "DIR":
			fmt.Fprintf(b, "  %s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", pattern)
		case f.value != "":
			fmt.Fprintf(b, "  %s) return ;;\n", pattern)
		}
	}
	fmt.Fprintf(b, "  esac\n  local flags='%s'\n", strings.Join(names(flags), " "))
	rest := "compgen -f"
	if len(verbs) > 0 {
		writeVerbLoop(b, flags, verbs, "1; i < COMP_CWORD", "${COMP_WORDS[i]}")
		fmt.Fprintf(b, "  local words='%s'\n  case $verb in\n", verbNames(verbs, " "))
		for _, v := range verbs {
			fmt.Fprintf(b, "  %s) flags='%s' words='%s' ;;\n", v.Name, strings.Join(names(withVerb(flags, v)), " "), strings.Join(v.Words, " "))
		}
		b.WriteString("  esac\n")
		rest = `compgen -W "$words"`
	}
	b.WriteString("  if [[ $cur == -* ]]; then\n    COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n  else\n")
	fmt.Fprintf(b, "    COMPREPLY=($(%s -- \"$cur\"))\n  fi\n}\ncomplete -o filenames -F %s %s\n", rest, fn, app.Name)
}

// zshQuote is for words of _arguments in single quotes.
var zshQuote = strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)

func zshCompletion(b *bytes.Buffer, app *cli.App) {
	fn := "_" + strings.ReplaceAll(app.Name, "-", "_")
	flags, verbs := completionFlags(app), verbsOf(app)
	fmt.Fprintf(b, "#compdef %s\n# zsh completion for %s: source <(%s --completion zsh)\n%s() {\n", app.Name, app.Name, app.Name, fn)
	if len(verbs) == 0 {
		zshArguments(b, flags, "'*::file:_files'")
	} else {
		writeVerbLoop(b, flags, verbs, "2; i < CURRENT", "${words[i]}")
		b.WriteString("  case $verb in\n")
		var words []string
		for _, v := range verbs {
			fmt.Fprintf(b, "  %s)\n", v.Name)
			following := "'*: :'"
			if len(v.Words) > 0 {
				following = "'2:word:(" + strings.Join(v.Words, " ") + ")' '*: :'"
			}
			zshArguments(b, withVerb(flags, v), following)
			b.WriteString("    ;;\n")
			words = append(words, v.Name+`\:"`+zshQuote.Replace(v.Usage)+`"`)
		}
		b.WriteString("  *)\n")
		zshArguments(b, flags, "'1:command:(("+strings.Join(words, " ")+"))'")
		b.WriteString("    ;;\n  esac\n")
	}
	fmt.Fprintf(b, "}\nif [ \"$funcstack[1]\" = %s ]; then %s \"$@\"; else compdef %s %s; fi\n", fn, fn, fn, app.Name)
}

// zshArguments writes the call that completes flags, and rest for what is none.
func zshArguments(b *bytes.Buffer, flags []completionFlag, rest string) {
	b.WriteString("  _arguments -S \\\n")
	for _, f := range flags {
		action := ""
		switch {
		case f.choices != nil:
			action = ":value:(" + strings.Join(f.choices, " ") + ")"
		case f.value == "FILE" || f.value == "DIR":
			action = ":" + strings.ToLower(f.value) + ":_files"
		case f.value != "":
			action = ":" + zshQuote.Replace(strings.ToLower(f.value)) + ": "
		}
		for _, n := range f.names {
			fmt.Fprintf(b, "    '*%s[%s]%s' \\\n", n, zshQuote.Replace(f.text), action)
		}
	}
	fmt.Fprintf(b, "    %s\n", rest)
}

func fishCompletion(b *bytes.Buffer, app *cli.App) {
	fmt.Fprintf(b, "# fish completion for %s: %s --completion fish | source\n", app.Name, app.Name)
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	verbs := verbsOf(app)
	for _, v := range verbs {
		fmt.Fprintf(b, "complete -c %s -f -n 'not __fish_seen_subcommand_from %s' -a %s -d '%s'\n", app.Name, verbNames(verbs, " "), v.Name, quote.Replace(v.Usage))
		if len(v.Words) > 0 {
			fmt.Fprintf(b, "complete -c %s -f -n '__fish_seen_subcommand_from %s' -a '%s'\n", app.Name, v.Name, strings.Join(v.Words, " "))
		}
	}
	for _, f := range completionFlags(app) {
		fmt.Fprintf(b, "complete -c %s", app.Name)
		if without := slices.DeleteFunc(slices.Clone(verbs), f.with); len(without) > 0 {
			fmt.Fprintf(b, " -n 'not __fish_seen_subcommand_from %s'", verbNames(without, " "))
		}
		for _, n := range f.names {
			if strings.HasPrefix(n, "--") {
				fmt.Fprintf(b, " -l %s", n[2:])
			} else {
				fmt.Fprintf(b, " -s %s", n[1:])
			}
		}
		switch {
		case f.choices != nil:
			fmt.Fprintf(b, " -x -a '%s'", strings.Join(f.choices, " "))
		case f.value == "FILE" || f.value == "DIR":
			b.WriteString(" -r -F")
		case f.value != "":
			b.WriteString(" -x")
		}
		fmt.Fprintf(b, " -d '%s'\n", quote.Replace(f.text))
	}
}
