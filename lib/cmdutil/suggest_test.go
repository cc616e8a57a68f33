package cmdutil

import (
	"testing"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/exit"
)

// TestSuggest: a mistyped flag is answered by one that looks like it, or by none.
func TestSuggest(t *testing.T) {
	app := App("ec-x", "")
	for _, name := range []string{"channel", "from", "to", "cache", "duration", "allow-origin"} {
		app.Flags = append(app.Flags, &cli.StringFlag{Name: name})
	}
	app.Flags = append(app.Flags, &cli.BoolFlag{Name: "help", Aliases: []string{"h"}})
	for typed, want := range map[string]string{
		"chanel": "channel", "form": "from", "duratoin": "duration", "alow-origin": "allow-origin", "hepl": "help",
		"chanel-list": "", "peer": "", "x": "", "verify": "", "catch": "cache", "tp": "to",
	} {
		hint := ""
		if want != "" {
			hint = "is it --" + want + "? ec-x --help lists all flags"
		}
		if got := exit.Hint(suggest(app, "--"+typed, typed)); got != hint {
			t.Errorf("--%s: %q, want %q", typed, got, hint)
		}
	}
}
