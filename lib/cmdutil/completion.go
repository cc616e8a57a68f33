package cmdutil

import (
	"bytes"
	"fmt"
	"io"
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

func bashCompletion(b *bytes.Buffer, app *cli.App) {
	fn := "_" + strings.ReplaceAll(app.Name, "-", "_")
	fmt.Fprintf(b, "# bash completion for %s: source <(%s --completion bash)\n%s() {\n", app.Name, app.Name, fn)
	b.WriteString("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n  COMPREPLY=()\n  case $prev in\n")
	var all []string
	for _, f := range completionFlags(app) {
		all = append(all, f.names...)
		switch pattern := strings.Join(f.names, "|"); {
		case f.choices != nil:
			fmt.Fprintf(b, "  %s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", pattern, strings.Join(f.choices, " "))
		case f.value == "FILE" || f.value == "DIR":
			fmt.Fprintf(b, "  %s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", pattern)
		case f.value != "":
			fmt.Fprintf(b, "  %s) return ;;\n", pattern)
		}
	}
	fmt.Fprintf(b, "  esac\n  if [[ $cur == -* ]]; then\n    COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n  else\n", strings.Join(all, " "))
	fmt.Fprintf(b, "    COMPREPLY=($(compgen -f -- \"$cur\"))\n  fi\n}\ncomplete -o filenames -F %s %s\n", fn, app.Name)
}

func zshCompletion(b *bytes.Buffer, app *cli.App) {
	fn := "_" + strings.ReplaceAll(app.Name, "-", "_")
	fmt.Fprintf(b, "#compdef %s\n# zsh completion for %s: source <(%s --completion zsh)\n%s() {\n  _arguments -S \\\n", app.Name, app.Name, app.Name, fn)
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range completionFlags(app) {
		action := ""
		switch {
		case f.choices != nil:
			action = ":value:(" + strings.Join(f.choices, " ") + ")"
		case f.value == "FILE" || f.value == "DIR":
			action = ":" + strings.ToLower(f.value) + ":_files"
		case f.value != "":
			action = ":" + quote.Replace(strings.ToLower(f.value)) + ": "
		}
		for _, n := range f.names {
			fmt.Fprintf(b, "    '*%s[%s]%s' \\\n", n, quote.Replace(f.text), action)
		}
	}
	fmt.Fprintf(b, "    '*::file:_files'\n}\nif [ \"$funcstack[1]\" = %s ]; then %s \"$@\"; else compdef %s %s; fi\n", fn, fn, fn, app.Name)
}

func fishCompletion(b *bytes.Buffer, app *cli.App) {
	fmt.Fprintf(b, "# fish completion for %s: %s --completion fish | source\n", app.Name, app.Name)
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	for _, f := range completionFlags(app) {
		fmt.Fprintf(b, "complete -c %s", app.Name)
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
