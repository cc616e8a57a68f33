package cmdutil

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

const textWidth = 100

// writeHelp prints the whole help in one write.
func writeHelp(w io.Writer, app *cli.App) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n", app.Name, app.Usage)
	if app.UsageText != "" {
		for line := range strings.Lines(strings.TrimSpace(app.UsageText)) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSpace(line))
		}
	} else {
		fmt.Fprintf(&b, "  %s\n", strings.TrimSpace(app.Name+" [flags] "+app.ArgsUsage))
	}
	if d := strings.TrimSpace(app.Description); d != "" {
		fmt.Fprintf(&b, "\n%s\n", d)
	}
	var own, shared []cli.Flag
	for _, f := range app.Flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		if c, ok := f.(cli.CategorizableFlag); ok && c.GetCategory() == common {
			shared = append(shared, f)
		} else {
			own = append(own, f)
		}
	}
	for _, g := range []struct {
		title string
		flags []cli.Flag
	}{{"Flags", own}, {"Flags of every command", shared}} {
		if len(g.flags) > 0 {
			fmt.Fprintf(&b, "\n%s:\n", g.title)
			writeFlags(&b, g.flags)
		}
	}
	env := envNames(app.Name, "foo-bar")
	fmt.Fprintf(&b, "\nA flag --foo-bar can be set in the environment as %s or %s.\nExit codes and examples: man %s, or man docs/man/%s.1 where the source is.\n",
		env[0], env[1], app.Name, app.Name)
	_, err := w.Write(b.Bytes())
	return err
}

func writeFlags(b *bytes.Buffer, flags []cli.Flag) {
	width, heads := 0, make([]string, len(flags))
	for i, f := range flags {
		heads[i] = flagHead(f)
		width = max(width, len(heads[i]))
	}
	width = min(width, 34)
	for i, f := range flags {
		text := flagText(f)
		fmt.Fprintf(b, "  %-*s", width, heads[i])
		if len(heads[i]) > width {
			fmt.Fprintf(b, "\n  %*s", width, "")
		}
		for j, line := range wrap(text, textWidth-width-4) {
			if j > 0 {
				fmt.Fprintf(b, "\n  %*s", width, "")
			}
			b.WriteString("  " + line)
		}
		b.WriteByte('\n')
	}
}

// flagHead is "--output FILE, -o FILE".
func flagHead(f cli.Flag) string {
	var parts []string
	for _, n := range f.Names() {
		dash := "--"
		if len(n) == 1 {
			dash = "-"
		}
		parts = append(parts, dash+n)
	}
	head := strings.Join(parts, ", ")
	if v := placeholder(f); v != "" {
		head += " " + v
	}
	return head
}

// placeholder is the name of the flag's value: what its usage has in backquotes, else VALUE.
func placeholder(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok || !d.TakesValue() {
		return ""
	}
	if _, after, ok := strings.Cut(d.GetUsage(), "`"); ok {
		if name, _, ok := strings.Cut(after, "`"); ok {
			return name
		}
	}
	return "VALUE"
}

func flagText(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	text := strings.ReplaceAll(d.GetUsage(), "`", "")
	if s, ok := f.(cli.DocGenerationSliceFlag); ok && s.IsSliceFlag() {
		text += " (may be repeated)"
	}
	def := d.GetDefaultText()
	if def != "" && def != "false" && def != `""` && def != "0" && def != "0s" && def != "[]" {
		text += " (default: " + strings.Trim(def, `"`) + ")"
	}
	return text
}

func wrap(text string, width int) []string {
	lines, line := []string{}, ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
