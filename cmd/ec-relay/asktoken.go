package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/auth"
	"every.channel/ec/lib/client"
	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/relay"
)

// tokenWords may follow the word token; list is what it does without one.
var tokenWords = []string{"list", "make", "show", "revoke"}

// tokenCommand returns the operator's command for token and the words behind it, with arguments.
func tokenCommand(c *cli.Context) (name string, args any, err error) {
	word, rest := "list", c.Args().Slice()[1:]
	if len(rest) > 0 && slices.Contains(tokenWords, rest[0]) {
		word, rest = rest[0], rest[1:]
	} else if len(rest) > 0 {
		return "", nil, cmdutil.UsageError(fmt.Errorf("token is followed by %s", strings.Join(tokenWords, ", ")))
	}
	want := map[string]int{"show": 1, "revoke": 1}[word]
	switch {
	case len(rest) > want:
		return "", nil, cmdutil.UsageError(fmt.Errorf("token %s takes %d arguments", word, want))
	case len(rest) < want:
		what := map[string]string{"show": "a token, or @FILE whose first line is one", "revoke": "the ID of a token, as token list has it"}[word]
		return "", nil, cmdutil.UsageError(fmt.Errorf("token %s takes %s", word, what))
	}
	for _, flag := range []string{"publish", "read", "for", "client", "token-limit", "subject", "note"} {
		if word != "make" && cmdutil.Given(c, flag) {
			return "", nil, cmdutil.UsageError(fmt.Errorf("--%s goes with token make", flag))
		}
	}
	switch word {
	case "make":
		return makeTokenCommand(c)
	case "show":
		text := rest[0]
		if strings.HasPrefix(text, "@") {
			if text, err = client.SecretFromFile(text, cmdutil.Logger(c)); err != nil {
				return "", nil, err
			}
		}
		return "showtoken", relay.TokenText{Token: text}, nil
	case "revoke":
		return "revoketoken", relay.Revocation{ID: rest[0]}, nil
	}
	return "tokens", nil, nil
}

func makeTokenCommand(c *cli.Context) (name string, args any, err error) {
	o := relay.TokenOrder{Publish: c.StringSlice("publish"), Read: c.StringSlice("read"), Client: strings.ReplaceAll(c.String("client"), ":", ""), Life: cmdutil.AgeOf(c, "for").Seconds(), Subject: c.String("subject"), Note: c.String("note")}
	for flag, list := range map[string][]string{"publish": o.Publish, "read": o.Read} {
		for _, text := range list {
			if _, err := auth.ParsePrefix(text); err != nil {
				return "", nil, cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("--%s: %w", flag, err), "a namespace reads ec-atsc-2065-3, and * is every one"))
			}
		}
	}
	for _, text := range c.StringSlice("token-limit") {
		name, n, err := relay.ParseTokenLimit(text, sizeOf)
		if err != nil {
			return "", nil, cmdutil.UsageError(fmt.Errorf("--token-limit %w", err))
		}
		if o.Limits == nil {
			o.Limits = make(map[string]int64)
		}
		o.Limits[name] = n
	}
	if len(o.Publish)+len(o.Read) == 0 {
		return "", nil, cmdutil.UsageError(cmdutil.Hint(errors.New("the token would allow nothing"), "ec-relay token make --publish ec --for 30d"))
	}
	return "token", o, nil
}

// printToken prints the token alone, for scripts; of a client's key there is none.
func printToken(w io.Writer, t relay.TokenMade) {
	if t.Token == "" {
		fmt.Fprintf(w, "who has that key needs no token: %s\n", t.ID)
		return
	}
	fmt.Fprintln(w, t.Token)
}

func printTokenList(w io.Writer, l relay.TokenList) {
	if len(l.Tokens) == 0 {
		fmt.Fprintln(w, "no tokens")
		return
	}
	fmt.Fprintln(w, "TOKEN\tPUBLISHES BELOW\tREADS BELOW\tEXPIRES\tFOR\tNOTE")
	for _, t := range l.Tokens {
		expires := "never"
		switch {
		case t.Revoked != nil:
			expires = "revoked " + t.Revoked.UTC().Format(time.RFC3339)
		case t.Expires != nil:
			expires = t.Expires.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, words(t.Publish), words(t.Read), expires, words([]string{t.Subject, t.Client}), t.Note)
	}
}

// words joins the cells of a table's field; none are a dash.
func words(list []string) string {
	if text := strings.TrimSpace(strings.Join(list, " ")); text != "" {
		return text
	}
	return "-"
}

func printTokenShown(w io.Writer, t relay.TokenShown) {
	if t.Why != "" {
		fmt.Fprintf(w, "worth nothing here: %s\n", t.Why)
	} else {
		fmt.Fprintln(w, "good")
	}
	for _, line := range []struct{ name, value string }{{"id", t.ID}, {"format", t.Format}, {"for", t.Subject}, {"signed by", t.Key}} {
		if line.value != "" {
			fmt.Fprintf(w, "%s\t%s\n", line.name, line.value)
		}
	}
	for _, line := range []struct {
		name string
		at   *time.Time
	}{{"begins", t.Begins}, {"expires", t.Expires}} {
		if line.at != nil {
			fmt.Fprintf(w, "%s\t%s\n", line.name, line.at.UTC().Format(time.RFC3339))
		}
	}
	for _, s := range t.Allows {
		fmt.Fprintf(w, "may\t%s below %s\n", strings.Join(s.Actions, ", "), s.Below)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Limits)) {
		fmt.Fprintf(w, "limit\t%s=%d\n", name, t.Limits[name])
	}
}

func printTokenRevoked(w io.Writer, r relay.TokenRevoked) {
	from := "made here"
	if !r.Here {
		from = "not made here, and refused from now on"
	}
	fmt.Fprintf(w, "token %s revoked (%s), sessions ended: %d\n", r.ID, from, r.Sessions)
}
